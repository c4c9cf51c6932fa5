"""What the benchmarks take from the services still fits: they run too seldom to say so."""

import re

from benchmarks.intake import pgbench_script


def test_pgbench_can_run_intakes_own_statement() -> None:
    script = pgbench_script()

    assert "INSERT INTO intake.applications" in script
    # Its own variables alone are left.
    assert set(re.findall(r"(?<!:):(\w+)", script)) <= {"a", "b"}
