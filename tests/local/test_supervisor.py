"""What keeps programs running: what is done before each start, and when that fails."""

import sys
from pathlib import Path

from deploy.local.supervisor import PrepareError, Program, Supervisor
from tests.city import eventually


async def test_a_program_is_prepared_before_each_start_and_again_when_that_failed(
    tmp_path: Path,
) -> None:
    prepared: list[bool] = []
    told: list[str] = []
    note = tmp_path / "note"

    def prepare() -> None:
        prepared.append(note.exists())
        if len(prepared) == 1:
            raise PrepareError("the disk is full")
        note.touch()

    # It uses what was prepared up, and ends.
    command = [sys.executable, "-c", f"import os; os.unlink({str(note)!r})"]
    supervisor = Supervisor(tmp_path / "logs", told.append, lambda pids: None)
    supervisor.start(Program("sample", command, {}, prepare=prepare))

    async def ended() -> int:
        return sum("sample ended with status 0" in line for line in told)

    try:
        await eventually(ended, lambda times: times >= 2)
    finally:
        await supervisor.stop(["sample"], 5)
    assert told[0] == "sample cannot be started, tried again in 0.3 s: the disk is full"
    assert prepared[:3] == [False, False, False]
