"""The city's own rules, put in force without a second person: so that a city can begin."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from catalogue import Catalogue
from catalogue.loader import CITY
from services.console import releases
from services.router.rules import Names, TableError, load, verify
from shared.runtime.postgres import connect

RULES = CITY / "rules"
_CITY = ZoneInfo("Asia/Taipei")
_PROPOSER, _APPROVER = "catalogue", "casebus"


class OwnRulesError(Exception):
    """The tables cannot be read, or are not sound; the message says where."""


def city_names(catalogue: Catalogue) -> Names:
    """What the catalogue knows, for rules to be proved against."""
    return Names(
        frozenset(catalogue.services),
        frozenset(catalogue.agencies),
        frozenset(catalogue.districts),
    )


async def release_own_rules(
    console_uri: str, catalogue: Catalogue, folder: Path = RULES, *, first_only: bool = False
) -> bool:
    """Release the tables in `folder`, if nothing was ever live; whether it did.

    Without `first_only` also when they have changed since they were released from here, as long
    as no person released any. Raises OwnRulesError, and TimeoutError while
    somebody else changes a release.
    """
    names = city_names(catalogue)
    try:
        rules = load(folder, names)
    except TableError as error:
        raise OwnRulesError(f"the tables in {folder} cannot be read:\n{error}") from None
    if findings := verify(rules).findings:
        told = "\n".join(f"{one.code} {one.table}: {one.message}" for one in findings)
        raise OwnRulesError(f"the tables in {folder} are not sound:\n{told}")
    today = datetime.now(_CITY).date()
    connection = await connect(console_uri)
    try:
        # Alone: of two that begin at once the second one sees what the first did.
        async with releases.alone(connection):
            known = await releases.all_releases(connection)
            live = [one for one in known if one.state == "live"]
            of_people = any(one.proposed_by != _PROPOSER for one in live)
            if live and (first_only or of_people or live[0].version == rules.version):
                return False
            said = names.to_json()
            proposal = releases.Proposal(rules.id, rules.version, rules.document, _PROPOSER, said)
            proposed, _ = await releases.propose(connection, proposal, today)
            if proposed.state != "live":
                await releases.approve(connection, proposed.number, _APPROVER, today, said)
    finally:
        await connection.close()
    return True
