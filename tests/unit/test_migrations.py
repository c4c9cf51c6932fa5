"""The schema files: in one order, for every service, with rights for nobody but the ones named."""

import re

from shared.runtime.migrations import ROLES, SERVICES, files

FILES = dict(files())


def test_no_file_comes_twice_and_the_vault_comes_first() -> None:
    names = [name for name, _ in files()]

    assert len(names) == len(set(names))
    assert names[0] == "vault/0001"


def test_every_service_gets_its_event_tables_before_its_own() -> None:
    names = list(FILES)

    for service in SERVICES:
        own = [name for name in names if name.startswith(f"{service}/")]
        assert own[0] == f"{service}/0000_events"
        assert own == sorted(own)
        assert len(own) > 1


def test_the_event_tables_are_rendered_for_each_schema() -> None:
    for service in SERVICES:
        sql = FILES[f"{service}/0000_events"]
        assert "{schema}" not in sql
        assert f"CREATE TABLE {service}.outbox" in sql


def test_rights_go_to_known_roles_only() -> None:
    grants = [
        role.strip()
        for sql in FILES.values()
        for match in re.findall(r"GRANT [^;]*? TO ([a-z, ]+);", sql)
        for role in match.split(",")
    ]

    assert grants
    assert set(grants) <= set(ROLES)
