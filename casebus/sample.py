"""Realistic applications for the city, from a seed: the same seed makes the same ones.

Names, numbers and addresses are made up; the ids have right check digits, the mail addresses
lie in a domain reserved for examples, and the phones are of the right form.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from catalogue import Catalogue, Service
from catalogue.building.readings import WAIVABLE
from catalogue.facts import load_facts
from services.intake.identity import InvalidValue, company_number, personal_id

_SURNAMES = "陳林黃張李王吳劉蔡楊許鄭謝郭洪曾邱廖賴周"
_GIVEN = ("怡君", "家豪", "雅婷", "志明", "淑芬", "冠宇", "宜蓁", "承恩", "詩涵", "建宏", "美玲")
_ENGLISH = ("Alex Chen", "Maria Lopez", "John Smith", "Anh Nguyen", "Siti Rahma", "Emma Brown")
_COMPANIES = ("示範", "範例", "測試", "虛構", "樣品")
_ROADS = ("中山路", "和平路", "民生路", "信義路", "仁愛路", "復興路", "忠孝路")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
# These have fields of their own.
_IN_FORM = ("district", "side_of_aiguo")
# Answers on both sides of what the rules ask about; a text has its own list there.
_ANSWERS: dict[str, tuple[int | bool, ...]] = {
    "newborn": (True, False),
    "participants": (80, 400, 3_000, 6_000),
    "park_m2": (1_500, 9_999, 10_000, 60_000),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A body for POST /api/applications, what it should be answered, and why."""

    body: dict[str, Any]
    expected: Literal["accepted", "refused"]
    why: str


def applications(
    catalogue: Catalogue,
    seed: int,
    invalid_share: float = 0.03,
    misrouted_share: float = 0.03,
) -> Iterator[Sample]:
    """Endless samples over all open services and districts; some invalid, some misrouted."""
    chance = random.Random(seed)
    services = [service for service in catalogue.services.values() if service.open]
    # A few services are asked for all the time, most of them now and then.
    weights = [1 + 8 * (service.stage >= 5) for service in services]
    invalid = [
        *(_wrong_id, _wrong_phone, _no_contact, _no_service, _closed, _postal, _no_name),
        *(_no_side, _crowd_in_words),
    ]
    while True:
        service = chance.choices(services, weights)[0]
        body = _body(catalogue, service, chance)
        roll = chance.random()
        if roll < invalid_share:
            why = chance.choice(invalid)(body)
            yield Sample(body, "refused", why)
        elif roll < invalid_share + misrouted_share:
            why = _misroute(body, catalogue, chance)
            yield Sample(body, "accepted", why)
        else:
            yield Sample(body, "accepted", "as it should be")


def _body(catalogue: Catalogue, service: Service, chance: random.Random) -> dict[str, Any]:
    district = chance.choice(list(catalogue.districts.values()))
    company = chance.random() < 0.15
    language = "en" if chance.random() < 0.15 else "zh-TW"
    if company:
        name = f"{chance.choice(_COMPANIES)}{chance.randrange(1, 999)}股份有限公司"
    elif language == "en":
        name = chance.choice(_ENGLISH)
    else:
        name = chance.choice(_SURNAMES) + chance.choice(_GIVEN)
    location = None
    if service.family == "land":
        side = chance.choice(("north", "south")) if district.short == "ZZ" else None
        location = {"district": district.zh, "side_of_aiguo": side}
    reach = chance.random()
    return {
        "service": service.code,
        "applicant": {
            "kind": "company" if company else "person",
            "name": name,
            "id_number": _company(chance) if company else _person(chance),
        },
        "contact": {
            "phone": f"09{chance.randrange(10_000_000, 99_999_999)}" if reach < 0.95 else None,
            "email": f"citizen{chance.randrange(10**6)}@mail.example" if reach > 0.1 else None,
            "language": language,
        },
        "address": {
            "postal_code": district.postal3,
            "district": district.zh,
            "line": f"{chance.choice(_ROADS)}{chance.randrange(1, 300)}號",
        },
        "location": location,
        "answers": {
            "purpose": "示範申請",
            "copies": chance.randrange(1, 4),
            **_asked(service, district.zh, chance),
        },
        "consents": _consents(service) if chance.random() < 0.9 else [],
    }


def _asked(service: Service, district: str, chance: random.Random) -> dict[str, Any]:
    """What the form asks for this service there, and now and then what it only may ask for."""
    routing = load_facts()
    names = [name for name in routing.required(service.code, district) if name not in _IN_FORM]
    if service.family == "household-chain" and chance.random() < 0.8:
        names.append("newborn")
    return {
        name: chance.choice(_ANSWERS.get(name) or routing.inputs[name].values) for name in names
    }


def _consents(service: Service) -> list[str]:
    """The documents that are waived when the city may look them up."""
    return sorted({code for sentence in service.waivable if (code := WAIVABLE[sentence])})


def _first_valid(candidates: Iterator[str], check: Callable[[str], str]) -> str:
    for candidate in candidates:
        try:
            return check(candidate)
        except InvalidValue:
            continue
    raise AssertionError("one of ten check digits always fits")


def _person(chance: random.Random) -> str:
    head = chance.choice(_LETTERS) + chance.choice("1212128") + f"{chance.randrange(10**7):07d}"
    return _first_valid((f"{head}{digit}" for digit in range(10)), personal_id)


def _company(chance: random.Random) -> str:
    head = f"{chance.randrange(1, 10**7):07d}"
    return _first_valid((f"{head}{digit}" for digit in range(10)), company_number)


def _wrong_id(body: dict[str, Any]) -> str:
    number = body["applicant"]["id_number"]
    # Two off: one off may be right again for a company whose seventh digit is 7.
    body["applicant"]["id_number"] = number[:-1] + str((int(number[-1]) + 2) % 10)
    return "wrong check digit of the id"


def _wrong_phone(body: dict[str, Any]) -> str:
    body["contact"]["phone"] = "0812345678"
    return "a phone number that cannot be"


def _no_contact(body: dict[str, Any]) -> str:
    body["contact"] |= {"phone": None, "email": None}
    return "neither phone nor e-mail"


def _no_service(body: dict[str, Any]) -> str:
    body["service"] = "SVC-999"
    return "a service that does not exist"


def _closed(body: dict[str, Any]) -> str:
    body["service"] = "SVC-089"
    return "a service that is closed"


def _postal(body: dict[str, Any]) -> str:
    body["address"]["postal_code"] = "999"
    return "a postal code of another district"


def _no_name(body: dict[str, Any]) -> str:
    del body["applicant"]["name"]
    return "no name"


def _no_side(body: dict[str, Any]) -> str:
    body["service"] = "SVC-056"
    body["location"] = {"district": "中正區", "side_of_aiguo": None}
    return "the side of the road is missing"


def _crowd_in_words(body: dict[str, Any]) -> str:
    body["service"] = "SVC-026"
    body["answers"]["participants"] = "3000"
    return "a number that is a text"


def _misroute(body: dict[str, Any], catalogue: Catalogue, chance: random.Random) -> str:
    """Accepted, but the rules alone will not bring it to its right place."""
    land = [service for service in catalogue.services.values() if service.family == "land"]
    match chance.randrange(3):
        case 0:
            body["service"] = "SVC-032"
            return "nobody knows whose service it is: triage"
        case 1:
            body["service"] = "SVC-019"
            body["answers"]["newborn"] = False
            return "the birth is not registered yet: the district office will return it"
    body["service"] = chance.choice(land).code
    body["location"] = {"district": chance.choice(list(catalogue.districts)), "side_of_aiguo": None}
    if body["location"]["district"] == "中正區":
        body["location"]["side_of_aiguo"] = "north"
    return "the parcel lies elsewhere than stated: the office will return it"
