"""However a rule set is made, the verifier ends, and says what it did not look at."""

from typing import Any

from services.router.rules import Report, from_document, verify

Rows = list[list[str]]


def document(inputs: dict[str, str], **tables: Rows) -> dict[str, Any]:
    """The first row of each table names the columns."""
    return {
        "format": 1,
        "ruleset": "bounds",
        "inputs": [
            {"name": "service", "type": "text"},
            *({"name": name, "type": kind} for name, kind in inputs.items()),
        ],
        "hit_policies": {"lead": "UNIQUE", "joint_review": "COLLECT", "deadline": "UNIQUE"},
        "tables": {name: {"columns": rows[0], "rows": rows[1:]} for name, rows in tables.items()},
    }


def crossing(inputs: int, services: int) -> dict[str, Any]:
    """A row for each yes/no input: as many sets of rows as there are cases, and one gap."""
    names = [f"i{n}" for n in range(inputs)]
    every = ";".join(f"S{n:03}" for n in range(services))
    rows = [
        [f"L{n}", every, *("yes" if name == names[n] else "-" for name in names), str(n), "A"]
        for n in range(inputs)
    ]
    return document(
        dict.fromkeys(names, "yes_no"), lead=[["id", "service", *names, "priority", "lead"], *rows]
    )


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def test_of_many_deadlines_whose_steps_do_not_fit_twenty_are_told() -> None:
    lead = [[f"L{n}", "S", str(n), "-", "A"] for n in range(30)]
    deadline = [[f"D{n}", "S", "-", str(n), "4", "working_day", "2;2"] for n in range(30)]
    rules = from_document(
        document(
            {"a": "integer", "b": "integer"},
            lead=[["id", "service", "a", "b", "lead"], *lead],
            deadline=[["id", "service", "a", "b", "limit", "unit", "steps"], *deadline],
        )
    )

    assert codes(verify(rules)).count("R303") == 20
    assert verify(rules).findings == verify(rules).findings


def test_of_many_leads_that_review_themselves_twenty_are_told() -> None:
    lead = [[f"L{n}", "S", str(n), "A"] for n in range(30)]
    joint = [[f"J{n}", "S", str(n), "A", "review"] for n in range(30)]
    rules = from_document(
        document(
            {"a": "integer"},
            lead=[["id", "service", "a", "lead"], *lead],
            joint_review=[["id", "service", "a", "agency", "task"], *joint],
        )
    )

    told = [finding for finding in verify(rules).findings if finding.code == "R301"]
    assert len({finding.rules for finding in told}) == len(told) == 20


def test_a_gap_with_too_many_boxes_is_told_with_one_case() -> None:
    made = crossing(inputs=14, services=1)
    for n, row in enumerate(made["tables"]["lead"]["rows"]):
        row[2 + (n + 4) % 14] = row[2 + (n + 7) % 14] = "no"
    rules = from_document(made)
    (gap,) = (finding for finding in verify(rules).findings if finding.code == "R101")

    assert gap.message.endswith("(and more such)")
    assert gap.counterexample is not None
    assert rules.decide(gap.counterexample).outcome == "triage"


def test_an_overlap_with_too_many_boxes_is_told_with_a_case_of_it() -> None:
    made = crossing(inputs=15, services=1)
    for row in made["tables"]["lead"]["rows"]:
        row[-2] = "0"
    rules = from_document(made)
    overlaps = [finding for finding in verify(rules).findings if finding.code == "R102"]

    assert len(overlaps) == 20
    for finding in overlaps:
        assert finding.counterexample is not None
        assert rules.decide(finding.counterexample).candidates == finding.rules


def test_services_beyond_the_steps_for_all_are_told_by_one_finding() -> None:
    rules = from_document(crossing(inputs=6, services=100))
    report = verify(rules, budget=300)

    assert report.services < 100
    assert not report.whole
    (left_out,) = (finding for finding in report.findings if finding.code == "R401")
    assert left_out.message.startswith(f"{100 - report.services} services are not proved (S0")
    assert verify(rules, budget=300).findings == report.findings
    assert verify(rules, budget=300, earlier=report).findings == report.findings


def test_a_verification_that_asks_for_one_finding_ends_at_the_first_service_that_has_one() -> None:
    rules = from_document(crossing(inputs=3, services=10))
    report = verify(rules, most=1)

    assert codes(report) == ["R101"]
    assert report.services == 1
    assert not report.whole


def test_a_report_that_is_not_whole_serves_the_next_verification_as_far_as_it_goes() -> None:
    rules = from_document(crossing(inputs=3, services=10))
    report = verify(rules, earlier=verify(rules, most=4))

    assert report.whole
    assert report.findings == verify(rules).findings
    assert codes(report) == ["R101"] * 10


def test_a_row_is_not_told_as_dead_while_some_service_of_it_is_not_proved() -> None:
    rules = from_document(
        document(
            {"a": "yes_no"},
            lead=[
                ["id", "service", "a", "priority", "lead"],
                ["L0", "S1;S2", "yes", "", "A"],
                ["L1", "S1", "yes", "1", "B"],
            ],
        )
    )

    assert codes(verify(rules, most=1)) == ["R101"]
    assert codes(verify(rules)) == ["R101", "R101"]


def test_a_row_of_joint_review_is_needed_until_the_contrary_is_proved() -> None:
    names = [f"i{n}" for n in range(8)]
    free = ["-"] * 8
    made = document(
        dict.fromkeys(names, "yes_no"),
        lead=[["id", "service", *names, "lead"], ["L", "S1;S2", *free, "A"]],
        joint_review=[
            ["id", "service", *names, "agency", "task"],
            ["J0", "S1;S2", *free, "B", "review"],
            ["J1", "S1;S2", *free, "B", "review"],
            *(
                [
                    f"K{n}",
                    "S2",
                    *("yes" if name == names[n] else "-" for name in names),
                    "C",
                    "query",
                ]
                for n in range(8)
            ),
        ],
    )
    for number, row in enumerate(made["tables"]["joint_review"]["rows"]):
        if row[0].startswith("K"):
            row[-2] = f"C{number}"

    assert codes(verify(from_document(made))) == ["R103"]
    assert codes(verify(from_document(made), budget=50)) == ["R401"]
