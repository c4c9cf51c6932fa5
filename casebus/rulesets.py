"""What the commands on rules share: reading a folder, and ending when it cannot be read."""

import json
import sys
from pathlib import Path
from typing import NoReturn

from casebus.running import end
from catalogue import CatalogueError, load_catalogue
from deploy.own_rules import city_names
from services.router.rules import Names, RuleSet, TableError, load


def names() -> Names:
    """What the city's catalogue knows. Ends the command when that cannot be read."""
    try:
        return city_names(load_catalogue())
    except CatalogueError as error:
        end(f"the catalogue cannot be read:\n{error}")


def read(folder: Path, known: Names, as_json: bool) -> RuleSet:
    """The rule set in a folder. Ends the command when it cannot be read."""
    try:
        return load(folder, known)
    except TableError as error:
        end_unreadable(error, as_json)


def end_unreadable(error: TableError, as_json: bool) -> NoReturn:
    """Status 2, with every problem."""
    if as_json:
        print_json({"errors": [one.to_json() for one in error.problems], "count": error.count})
    else:
        print(error, file=sys.stderr)
    raise SystemExit(2)


def end_wrong(message: str, as_json: bool) -> NoReturn:
    """Status 2, with one sentence."""
    if as_json:
        print_json({"errors": [{"message": message}]})
        raise SystemExit(2)
    end(message)


def print_json(said: object) -> None:
    """One JSON object on stdout, whatever its encoding."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    print(json.dumps(said, ensure_ascii=plain, indent=2))
