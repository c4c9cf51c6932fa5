"""Random rule sets, small enough for brute force, as the document of docs/rules-format.md.

A tidy one splits its space into parts, row by row, as people mean to write a table, with an odd
exception or slip; a wild one has any cell anywhere. The same seed gives the same document.
"""

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from random import Random
from typing import Any

from tests.rules.cells import Fact, Unreadable, is_date, read_cell
from tests.rules.oracle import Names, Universe, read

Document = dict[str, Any]
Definition = dict[str, Any]

SERVICES = ["S1", "S2", "S3"]
AGENCIES = ["A", "B", "C-1", "DEPT-9"]
DISTRICTS = ["中正區", "大安區", "士林區"]
# Texts that look like something else are quoted in a cell.
TEXTS = ["north", "south", "南 港", "5", "yes", "a(b)"]
ODD_TEXTS = ["-", "missing", "present", "not(a)", "a;b", 'say "x"', "甲、乙", "[1..2]", "<3"]
FIRST_DAY = dt.date(2026, 2, 25)  # a month's end lies near
UNITS = ["working_day", "calendar_day", "month", "hour"]


def random_names(random: Random, document: Document) -> Names | None:
    """A catalogue's names, mostly the services that the document names already."""
    if random.random() < 0.4:
        return None
    services = set(Universe([read(document)], None).services)
    if random.random() < 0.3:
        services = set(random.sample(SERVICES, random.randint(1, 3)))
    return Names(frozenset(services), frozenset(AGENCIES), frozenset(DISTRICTS))


def random_document(random: Random) -> Document:
    tidy = random.random() < 0.5
    inputs = [random_service(random)]
    for at in range(random.choice([1, 1, 2, 2, 2, 3, 3, 4])):
        inputs.append(random_input(random, f"i{at}"))
    policies = {
        "lead": random.choice(["UNIQUE", "UNIQUE", "PRIORITY"]),
        "joint_review": "COLLECT",
        "deadline": random.choice(["UNIQUE", "PRIORITY"]),
    }
    services = random.sample(SERVICES, random.choice([1, 1, 2, 3]))
    lead = [
        row for group in groups(random, services) for row in lead_rows(random, inputs, group, tidy)
    ]
    joint = [
        other_row(random, inputs, services, "joint_review")
        for _ in range(random.choice([0, 0, 1] if tidy else [0, 1, 3]))
    ]
    joint += [deepcopy(random.choice(joint)) for _ in range(random.randint(0, 1)) if joint]
    deadline = deadline_rows(random, inputs, services, tidy)
    assume = [
        other_row(random, inputs, services, "assume")
        for _ in range(random.choice([0, 0, 0, 1] if tidy else [0, 1, 2]))
    ]
    tables = {
        name: table(random, inputs, name, rows)
        for name, rows in [
            ("lead", lead),
            ("joint_review", joint),
            ("deadline", deadline),
            ("assume", assume),
        ]
        if rows
    }
    return {
        "format": 1,
        "ruleset": "random",
        "inputs": inputs,
        "hit_policies": policies,
        "tables": tables,
    }


# Inputs.


def random_service(random: Random) -> Definition:
    service: Definition = {"name": "service", "type": "text", "meaning": "the service"}
    if random.random() < 0.7:
        service["names"] = "services"
    return service


def random_input(random: Random, name: str) -> Definition:
    kind = random.choice(["text", "text", "integer", "integer", "yes_no", "date"])
    found: Definition = {"name": name, "type": kind}
    if random.random() < 0.3:
        found["meaning"] = "something"
    bounded = random.random() < 0.5
    if kind == "text" and random.random() < 0.3:
        found["names"] = random.choice(["districts", "agencies"])
    elif kind == "text" and bounded:
        found["values"] = random.sample(TEXTS + ODD_TEXTS, random.randint(2, 3))
    elif kind in ("integer", "date") and bounded:
        for end, value in (("min", 0), ("max", random.choice([0, 3, 8]))):
            if random.random() < 0.8:
                found[end] = number(kind, value)
    return found


def number(kind: str, value: int) -> Any:
    """The value of an integer or date input: small integers, days of one month."""
    return value if kind == "integer" else (FIRST_DAY + dt.timedelta(value)).isoformat()


def texts(definition: Definition) -> list[str]:
    """What the cells of a text input speak of, mostly."""
    named = {"districts": DISTRICTS, "agencies": AGENCIES, "services": SERVICES}
    if definition["name"] == "service":
        return SERVICES
    values: list[str] = definition.get("values") or named.get(definition.get("names", ""), [])
    return values or [*TEXTS[:3], ODD_TEXTS[len(definition["name"]) % 3], "a;b"]


# Cells.


def written(random: Random, value: object) -> str:
    """A value in a cell; quoted when it must be, and now and then when it need not."""
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    odd = text in ODD_TEXTS
    if odd or (isinstance(value, str) and not is_date(value) and random.random() < 0.15):
        return '"' + text.replace('"', '""') + '"'
    return text


def blank(random: Random) -> str:
    return random.choice(["", "", "", " ", "  ", "\u3000"])


def random_item(random: Random, definition: Definition) -> str:
    kind = definition["type"]
    if kind == "text":
        rare = random.random() < 0.05
        return written(random, random.choice(["elsewhere"] if rare else texts(definition)))
    if kind == "yes_no":
        return written(random, random.random() < 0.5)
    low = random.randint(-1, 9) if random.random() < 0.2 else random.randint(0, 8)
    form = random.choice(["value", "comparison", "comparison", "range", "range"])
    if form == "value":
        return written(random, number(kind, low))
    if form == "comparison":
        sign = random.choice(["<", "<=", ">", ">="])
        return sign + blank(random) + written(random, number(kind, low))
    first, last = random.choice(["[]", "[)", "(]", "()"])
    high = low + (first == "(") + (last == ")") + random.randint(0, 4)
    return span(random, kind, first, low, high, last)


def span(random: Random, kind: str, first: str, low: int, high: int, last: str) -> str:
    ends = [written(random, number(kind, end)) for end in (low, high)]
    inner = (blank(random) + ".." + blank(random)).join(ends)
    bare = first + last == "[]" and random.random() < 0.4
    return inner if bare else first + inner + last


def listed(random: Random, items: Sequence[str]) -> str:
    return (blank(random) + ";" + blank(random)).join(items)


def random_cell(random: Random, definition: Definition) -> str:
    """Any cell that something matches."""
    while True:
        cell = any_cell(random, definition)
        with suppress(Unreadable):
            read_cell(cell, definition["type"])
            return cell


def any_cell(random: Random, definition: Definition) -> str:
    form = random.random()
    if form < 0.3:
        return "-"
    if form < 0.4:
        return random.choice(["missing", "present"])
    items = [random_item(random, definition) for _ in range(random.choice([1, 1, 2, 3]))]
    if form < 0.6:
        return "not(" + blank(random) + listed(random, items) + blank(random) + ")"
    if random.random() < 0.2:
        items.insert(random.randint(0, len(items)), "missing")
    return listed(random, items)


def service_cell(random: Random, services: Sequence[str]) -> str:
    """For the tables in which it may be anything but `missing`."""
    some = random.sample(SERVICES, random.randint(1, 2))
    return random.choice(
        [
            "-",
            "present",
            listed(random, services),
            random.choice(services),
            listed(random, some),
            "not(" + listed(random, some) + ")",
        ]
    )


def partition(random: Random, definition: Definition) -> list[str]:
    """Cells of which exactly one matches each fact, missing too."""
    kind = definition["type"]
    if kind == "yes_no":
        cells = random.choice([["yes", "no"], ["yes", "not(yes)"], ["present"]])
    elif kind == "text":
        values = random.sample(texts(definition), random.randint(1, 2))
        cells = [written(random, value) for value in values]
        cells.append("not(" + listed(random, cells) + ")")
        if "values" in definition and random.random() < 0.5:
            rest = [v for v in definition["values"] if v not in values]
            cells[-1:] = [listed(random, [written(random, v) for v in rest])] if rest else []
    else:
        first, second = sorted(random.sample(range(1, 9), 2))
        low, high = number(kind, first), number(kind, second)
        before = number(kind, first - 1)
        cells = [
            random.choice([f"<{low}", f"<= {before}", f"not(>= {low})"]),
            span(random, kind, "[", first, second, ")"),
            random.choice([f">={high}", f"not(<{high})"]),
        ]
        if random.random() < 0.4:
            cells = [cells[0], f">= {low}"]
    host = random.randrange(len(cells))
    if random.random() < 0.5 and not cells[host].startswith(("not(", "present")):
        cells[host] = listed(random, random.sample([cells[host], "missing"], 2))
        return cells
    return [*cells, "missing"]


# Rows: dicts of cells; a column that a row does not name is `-` or empty.


def groups(random: Random, services: Sequence[str]) -> list[list[str]]:
    """The services that share rows."""
    if len(services) > 1 and random.random() < 0.3:
        return [list(services[:2]), *([s] for s in services[2:])]
    return [[service] for service in services]


def lead_rows(
    random: Random, inputs: Sequence[Definition], services: Sequence[str], tidy: bool
) -> list[dict[str, str]]:
    service = {"service": listed(random, services)}
    if tidy:
        rows = [service | part for part in parts(random, inputs[1:], 6)]
        if random.random() < 0.3:
            exception = service | any_cells(random, inputs[1:])
            rows.append(exception | {"priority": random.choice(["1", "2"])})
        if len(rows) > 1 and random.random() < 0.2:
            rows.remove(random.choice(rows))
        if random.random() < 0.1:
            rows.append(dict(random.choice(rows)))
    else:
        rows = [service | any_cells(random, inputs[1:]) for _ in range(random.randint(1, 5))]
        for row in rows:
            row["priority"] = random.choice(["", "", "0", "1", "2", "1000000"])
    return [row | lead_output(random) for row in rows]


def parts(random: Random, inputs: Sequence[Definition], most: int) -> list[dict[str, str]]:
    """Rows that split the whole space, some `most` of them."""
    if not inputs or most <= 1 or random.random() < 0.1:
        return [{}]
    first = random.choice(inputs)
    rest = [other for other in inputs if other is not first]
    cells = partition(random, first)
    return [
        {first["name"]: cell} | below
        for cell in cells
        for below in parts(random, rest, random.choice([1, most // len(cells)]))
    ]


def any_cells(random: Random, inputs: Sequence[Definition]) -> dict[str, str]:
    return {definition["name"]: random_cell(random, definition) for definition in inputs}


def lead_output(random: Random) -> dict[str, str]:
    return {
        "lead": random.choice(AGENCIES),
        "chain": random.choice(["", "", "B", "C-1; A"]),
        "responsible": random.choice(["", "", "DEPT-9"]),
    }


def other_row(
    random: Random, inputs: Sequence[Definition], services: Sequence[str], name: str
) -> dict[str, str]:
    row = {"service": service_cell(random, services)} | any_cells(random, inputs[1:])
    if name == "joint_review":
        row["agency"] = random.choice(AGENCIES[:2])
        row["task"] = random.choice(["review", "query"])
        row["document"] = "HH_RECORD" if row["task"] == "query" else ""
    return row


def deadline_rows(
    random: Random, inputs: Sequence[Definition], services: Sequence[str], tidy: bool
) -> list[dict[str, str]]:
    if random.random() < 0.4:
        return []
    if tidy:
        rows = [{"service": "-"} | part for part in parts(random, inputs[1:], 4)]
        if random.random() < 0.5:
            row = other_row(random, inputs, services, "deadline")
            rows.append(row | {"priority": random.choice(["1", "7"])})
    else:
        rows = [
            other_row(random, inputs, services, "deadline")
            | {"priority": random.choice(["", "0", "1", "2"])}
            for _ in range(random.randint(1, 4))
        ]
    return [row | deadline_output(random) for row in rows]


def deadline_output(random: Random) -> dict[str, str]:
    if random.random() < 0.1:
        return {"limit": "0", "unit": "at_once", "steps": ""}
    limit, unit = random.choice(["0", "4", "30", "1000"]), random.choice(UNITS)
    return {"limit": limit, "unit": unit, "steps": random.choice(["", "", "1; 3"])}


OUTPUTS = {
    "lead": ["priority", "lead", "chain", "responsible"],
    "joint_review": ["agency", "task", "document"],
    "deadline": ["priority", "limit", "unit", "steps"],
    "assume": [],
}
OPTIONAL = ["priority", "chain", "responsible", "document", "steps"]


def table(
    random: Random, inputs: Sequence[Definition], name: str, rows: Sequence[dict[str, str]]
) -> Document:
    conditions = [definition["name"] for definition in inputs]
    columns = ["id", *conditions, *OUTPUTS[name]]
    for column in (*conditions[1:], *OPTIONAL):
        idle = all(row.get(column, "-") in ("-", "") for row in rows)
        if column in columns and idle and random.random() < 0.5:
            columns.remove(column)
    if name == "assume" and all(row["service"] == "-" for row in rows):
        columns.remove("service")
    if random.random() < 0.2:
        columns.append("note")
    if random.random() < 0.3:
        random.shuffle(columns)
    cells = []
    for at, row in enumerate(rows):
        filled = {"id": f"{name[0].upper()}{at}"} | row
        blank_cells = {c: "-" if c in conditions else "" for c in columns}
        cells.append([(blank_cells | filled)[c].strip() for c in columns])
    return {"columns": columns, "rows": cells}


def edited(random: Random, document: Document, at_most: int = 2) -> Document:
    """Another release: some cells changed, some rows gone, doubled or moved. Never the inputs."""
    found = deepcopy(document)
    for _ in range(random.randint(1, at_most)):
        name = random.choice(sorted(found["tables"]))
        columns, rows = found["tables"][name]["columns"], found["tables"][name]["rows"]
        row = random.choice(rows)
        what = random.random()
        if what < 0.15 and (name != "lead" or len(rows) > 1):  # lead keeps a row
            rows.remove(row)
        elif what < 0.3:
            rows.insert(random.randint(0, len(rows)), list(row))
            spare = [f"N{at}" for at in range(99)]
            taken = {r[columns.index("id")] for r in rows}
            row[columns.index("id")] = next(new for new in spare if new not in taken)
        elif what < 0.35:
            random.shuffle(rows)
        elif what < 0.55:
            change_output(random, name, columns, row)
        else:
            change_condition(random, found["inputs"], name, columns, row)
        if not rows:
            del found["tables"][name]
    return found


def change_output(random: Random, name: str, columns: list[str], row: list[str]) -> None:
    fresh: dict[str, str] = {}
    if name == "lead":
        fresh = lead_output(random)
    if name == "deadline":
        fresh = deadline_output(random)
    if name == "joint_review":
        fresh = {"agency": random.choice(AGENCIES)}
    if "priority" in columns:
        fresh["priority"] = random.choice(["", "0", "1", "2"])
    if set(fresh) - set(columns) - set(OPTIONAL):
        return
    for column, cell in fresh.items():
        if column in columns:
            row[columns.index(column)] = cell


def change_condition(
    random: Random, inputs: list[Definition], name: str, columns: list[str], row: list[str]
) -> None:
    present = [i for i in inputs if i["name"] in columns]
    if not present:
        return
    definition = random.choice(present)
    cell = random_cell(random, definition)
    if definition["name"] == "service":
        cell = random.choice(SERVICES)
        if name != "lead":
            cell = service_cell(random, [cell])
    row[columns.index(definition["name"])] = cell.strip()


# Facts.


def random_facts(random: Random, universe: Universe) -> dict[str, Fact]:
    """Facts from among all values worth a case, or from beyond or between them."""
    facts: dict[str, Fact] = {}
    for at, definition in enumerate(universe.inputs):
        domain = universe.services if at == 0 else universe.domains[at]
        fact = random.choice(domain)
        if random.random() < 0.1 and at > 0:
            fact = unmentioned(random, definition)
        if at == 0 and random.random() < 0.05:
            fact = "S-ELSE"
        if fact is not None or random.random() < 0.5:
            facts[definition["name"]] = fact
    if random.random() < 0.1:
        facts["no_input"] = "plays no part"
    return facts


def unmentioned(random: Random, definition: Definition) -> Fact:
    kind = definition["type"]
    if kind == "yes_no":
        return random.random() < 0.5
    if kind == "text":
        return random.choice(definition.get("values", ["幸福里", "MISSING", " ", "north "]))
    value = random.randint(-40, 40)
    low, high = definition.get("min"), definition.get("max")
    far = number(kind, value)
    if kind == "integer" and random.random() < 0.2:
        far = value * 10**20
    return (
        max(low, min(far, high if high is not None else far))
        if low is not None
        else (min(far, high) if high is not None else far)
    )


def wrong_fact(random: Random, definition: Definition) -> Any:
    """A fact that the input cannot have."""
    if definition["name"] == "service" and random.random() < 0.2:
        return None
    anything: dict[str, list[Any]] = {
        "text": ["", 1, True, 1.5, ["north"]],
        "integer": ["5", 5.0, True, False, "", [5]],
        "yes_no": ["yes", 0, 1, "", "true"],
        "date": ["2026-2-5", "2026-02-30", "20260205", "2026-02-05T00:00", 20260205, "", True],
    }
    wrong = list(anything[definition["type"]])
    if "values" in definition:
        wrong.append("none of the values")
    if "min" in definition:
        wrong.append(number(definition["type"], -1))
    if "max" in definition:
        wrong.append(number(definition["type"], 9))
    return random.choice(wrong)
