"""The process that looks into documents: what it may know, what it may die of, whose turn it is."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.intake import inspection
from services.intake.inspection import Inspector
from services.intake.uploads import UploadError

CLIENT, OTHER = "203.0.113.1", "198.51.100.7"


def tells(name: str, content: bytes) -> tuple[int, dict[str, str]]:
    return os.getpid(), dict(os.environ)


def sleeps(name: str, content: bytes) -> None:
    time.sleep(60)


def dies(name: str, content: bytes) -> None:
    os._exit(1)


def eats(name: str, content: bytes) -> int:
    return len(bytearray(2 * 1024**3))


@pytest_asyncio.fixture
async def inspector() -> AsyncIterator[Inspector]:
    found = Inspector(deadline_s=5)
    yield found
    await found.close()


def looked_into_by(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    monkeypatch.setattr(inspection, "inspect", function)


async def test_it_is_another_process_and_knows_no_secret(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEBUS_MASTER_KEY", "secret")
    looked_into_by(monkeypatch, tells)

    pid, environment = await inspector.inspect("a.pdf", b"", CLIENT)  # type: ignore[misc]

    assert pid != os.getpid()
    assert "CASEBUS_MASTER_KEY" not in environment


@pytest.mark.parametrize(
    ("what", "code"), [(sleeps, "upload.too_slow"), (dies, "upload.damaged")], ids=["slow", "dead"]
)
async def test_what_breaks_it_is_refused_and_the_next_document_has_another(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch, what: Any, code: str
) -> None:
    looked_into_by(monkeypatch, tells)
    before, _ = await inspector.inspect("a.pdf", b"", CLIENT)  # type: ignore[misc]
    looked_into_by(monkeypatch, what)

    with pytest.raises(UploadError) as refused:
        await inspector.inspect("b.pdf", b"", CLIENT)

    assert refused.value.code == code
    looked_into_by(monkeypatch, tells)
    after, _ = await inspector.inspect("c.pdf", b"", CLIENT)  # type: ignore[misc]
    assert after != before


async def test_it_cannot_take_the_memory_of_the_machine(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into_by(monkeypatch, eats)

    with pytest.raises(MemoryError):
        await inspector.inspect("a.pdf", b"", CLIENT)


async def test_who_sends_many_documents_waits_for_the_others(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def asked(name: str, content: bytes) -> Any:
        seen.append(name)
        await asyncio.sleep(0.01)

    monkeypatch.setattr(inspector, "_asked", asked)
    async with asyncio.TaskGroup() as group:
        for name in ("mine 1", "mine 2", "mine 3"):
            group.create_task(inspector.inspect(name, b"", CLIENT))
        group.create_task(inspector.inspect("another's", b"", OTHER))

    assert seen == ["mine 1", "another's", "mine 2", "mine 3"]
    assert not inspector._turn_of
