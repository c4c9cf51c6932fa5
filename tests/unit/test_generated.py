"""Made-up cities: of the right size, always the same, labelled, and usable as a city."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalogue import load_catalogue
from catalogue.generated import EVIDENCE, SIZES, Size, counts, generated, write
from catalogue.loader import CITY

OWN = load_catalogue()


@pytest.mark.parametrize("name", SIZES)
def test_a_city_has_as_many_services_of_each_kind_as_was_said(name: str) -> None:
    size = SIZES[name]
    assert counts(generated(size, 1).services.values()) == {
        "listed": size.listed,
        "forms": size.forms,
        "online": size.online,
        "waived": size.waived,
    }


def test_the_papers_city_is_the_papers() -> None:
    assert SIZES["paper"] == Size(listed=774, forms=580, online=120, waived=127)


def test_the_same_seed_makes_the_same_city_and_another_one_another() -> None:
    assert generated(SIZES["paper"], 5) == generated(SIZES["paper"], 5)
    assert generated(SIZES["paper"], 5) != generated(SIZES["paper"], 6)


def test_what_is_made_up_says_so_and_what_is_real_is_left_alone() -> None:
    city = generated(SIZES["paper"], 1)

    for code, service in city.services.items():
        if code in OWN.services:
            assert service == OWN.services[code]
        else:
            assert code.startswith("GEN-")
            assert service.evidence == city.listings[code].evidence == EVIDENCE
    names = [service.name_zh for service in city.services.values()]
    assert len(set(names)) == len(names)


def test_a_city_smaller_than_the_real_one_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="the city's own services are more than"):
        generated(Size(50, 10, 10, 10), 1)


def test_more_services_than_there_are_names_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="there are names for 11200 services"):
        generated(Size(20_000, 500, 120, 120), 1)


def test_a_city_in_a_folder_is_the_city_of_every_program(tmp_path: Path) -> None:
    city = generated(SIZES["paper"], 1)
    folder = tmp_path / "paper"
    write(city, folder, CITY)
    write(city, folder, CITY)  # over what stands there

    assert load_catalogue(folder / "data") == city
    told = subprocess.run(
        [sys.executable, "-c",
         "from catalogue import load_catalogue\n"
         "from catalogue.forms import forms, outside\n"
         "from deploy.own_rules import RULES, city_names\n"
         "from services.router.rules import load, verify\n"
         "city = load_catalogue()\n"
         "assert not verify(load(RULES, city_names(city))).findings\n"
         "print(len(city.services), sum(len(outside(one, city)) for one in forms(city).values()))"],
        env={**os.environ, "CASEBUS_CITY": str(folder)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert told.stdout.split() == [str(len(city.services)), "0"]
