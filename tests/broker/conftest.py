"""One broker and one PostgreSQL for the suite; each test has topics and a schema of its own."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.broker.ground import Ground, processes
from tests.broker.office import Office, opened
from tests.broker.outbox import Outbox


@pytest.fixture(scope="session")
def _processes() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="casebus-ground-") as folder:
        with processes(Path(folder)) as found:
            yield found


@pytest_asyncio.fixture(scope="session")
async def ground(_processes: Ground) -> AsyncIterator[Ground]:
    await _processes.ready()
    await _processes.topics("outbox.positions")
    yield _processes


@pytest_asyncio.fixture
async def office(ground: Ground) -> AsyncIterator[Office]:
    async with opened(ground) as found:
        yield found


@pytest_asyncio.fixture
async def outbox(ground: Ground) -> AsyncIterator[Outbox]:
    schema = await ground.schema()
    async with ground.pool(schema) as pool:
        yield Outbox(ground, schema, await ground.topic("told"), pool)
