"""The samples of `casebus traffic`: each is answered as it says, and a seed says which."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from pydantic import ValidationError

from casebus.sample import Sample, applications
from catalogue import load_catalogue
from catalogue.build_rules import FOLDER
from services.intake.domain import ApplicationForm, Checked, check
from services.router.rules import Decision, load

CATALOGUE = load_catalogue()
RULES = load(FOLDER)
WRONG = {
    "wrong check digit of the id",
    "a phone number that cannot be",
    "neither phone nor e-mail",
    "a service that does not exist",
    "a service that is closed",
    "a postal code of another district",
    "no name",
    "the side of the road is missing",
    "a number that is a text",
}


def samples(n: int, seed: int = 1, **shares: float) -> list[Sample]:
    return list(islice(applications(CATALOGUE, seed, **shares), n))


def checked(body: dict[str, Any]) -> Checked | None:
    try:
        form = ApplicationForm.model_validate(body)
    except ValidationError:
        return None
    return check(form, CATALOGUE)[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_sample_is_answered_as_it_says(seed: int) -> None:
    for sample in samples(1000, seed, invalid_share=0.3, misrouted_share=0.2):
        answer = "refused" if checked(sample.body) is None else "accepted"
        assert answer == sample.expected, (sample.why, sample.body)


def test_every_way_to_be_wrong_comes() -> None:
    found = {s.why for s in samples(500, invalid_share=1) if s.expected == "refused"}

    assert found == WRONG


def test_the_same_seed_makes_the_same_samples_and_another_makes_others() -> None:
    assert samples(200, seed=7) == samples(200, seed=7)
    assert samples(200, seed=7) != samples(200, seed=8)


def test_the_shares_are_kept() -> None:
    found = Counter(
        "refused" if s.expected == "refused" else s.why == "as it should be" for s in samples(4000)
    )

    assert 60 <= found["refused"] <= 200
    assert 60 <= found[False] <= 200
    plain = samples(200, invalid_share=0, misrouted_share=0)
    assert {s.why for s in plain} == {"as it should be"}


def test_every_open_service_and_every_district_comes() -> None:
    found = samples(6000, invalid_share=0, misrouted_share=0)

    assert {s.body["service"] for s in found} == {
        service.code for service in CATALOGUE.services.values() if service.open
    }
    assert {s.body["address"]["district"] for s in found} == set(CATALOGUE.districts)


def decided(sample: Sample) -> Decision:
    found = checked(sample.body)
    assert found is not None, sample
    return RULES.decide({"service": found.form.service, **found.facts})


def test_every_sample_is_routed_by_rule_and_only_what_nobody_owns_to_triage() -> None:
    seen = Counter[str]()
    for sample in samples(2000, invalid_share=0, misrouted_share=0.3):
        lead = decided(sample).lead
        assert lead is not None, sample
        assert (lead.agency == "TRIAGE") == (not CATALOGUE.services[sample.body["service"]].agency)
        assert not sample.why.endswith("triage") or lead.agency == "TRIAGE"
        seen[sample.why] += 1
    assert len(seen) == 4
    assert min(seen.values()) > 50


def test_the_samples_show_every_office_and_every_agency_that_works_beside_it() -> None:
    leads, tasks = set(), Counter[str]()
    for sample in samples(6000, invalid_share=0, misrouted_share=0):
        found = decided(sample)
        assert found.lead is not None
        leads.add(found.lead.agency)
        tasks.update(review.task for review in found.joint_review)

    offices = ("HRO-", "DO-", "LO-", "PO-")
    assert leads >= {code for code in CATALOGUE.agencies if code.startswith(offices)}
    assert min(tasks["review"], tasks["query"]) > 50


def test_no_sample_reaches_anybody() -> None:
    """The mail addresses lie in a domain that is reserved for examples."""
    for sample in samples(300):
        mail = sample.body["contact"]["email"]
        assert mail is None or mail.endswith("@mail.example")
