"""One real broker and one real PostgreSQL without the city on top, and ways to look at them."""

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from deploy.local.jars import classpath
from deploy.local.kafka import Broker
from deploy.local.ports import choose
from deploy.local.postgres import Server
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka, migrations
from shared.runtime.postgres import Pool, open_pool
from shared.runtime.relay import group
from shared.runtime.settings import Settings, StoreSettings
from tests.city import eventually

_ADMIN = "admin-made-up-password"


@contextlib.contextmanager
def processes(folder: Path) -> Iterator["Ground"]:
    """Both, started together in `folder` and killed at the end: their data is nobody's."""
    ports = choose({"kafka": 0, "controller": 0, "postgres": 0}, told=lambda line: None)
    jars = tuple(classpath())
    broker = Broker(folder / "kafka", jars, ports["kafka"], ports["controller"], _ADMIN)
    server = Server(folder / "postgres", ports["postgres"], _ADMIN)
    broker.prepare()
    server.prepare()
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    with contextlib.ExitStack() as ended, (folder / "log").open("ab") as log:
        for command, identity in ((broker.command(), {}), (server.command(), server.identity)):
            one = subprocess.Popen(command, env=environment, stdout=log, stderr=log, **identity)
            ended.callback(one.wait, 20)
            ended.callback(one.terminate)
        yield Ground(broker.address, server)


@dataclass(slots=True)
class Ground:
    """Everything here is done as the super user of each, unless a test says otherwise."""

    kafka: str
    server: Server
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def ready(self) -> None:
        """Until both answer, with the roles that the event tables' grants name."""
        await self.server.wait(30)
        await migrations.apply(self.server.admin_uri, dict.fromkeys(migrations.ROLES, _ADMIN))
        async with asyncio.timeout(60):
            while True:
                admin = kafka.admin(self.settings())
                try:
                    await admin.start()
                    # Makes the topic of the groups' offsets; the first who asks waits for it.
                    await admin.list_consumer_group_offsets("nobody")
                    return
                except KafkaError:
                    await asyncio.sleep(0.2)
                finally:
                    await admin.close()

    def name(self, what: str) -> str:
        """A name that no other test has, for a topic, a schema or a group."""
        return f"{what}{next(self._numbers)}"

    def settings(self, user: str = "admin", password: str = _ADMIN) -> StoreSettings:
        return StoreSettings(
            kafka=self.kafka,
            kafka_security="SASL_PLAINTEXT",
            kafka_username=user,
            kafka_password=SecretStr(password),
            postgres=SecretStr(self.server.admin_uri),
        )

    async def topics(self, *names: str, partitions: int = 1) -> None:
        async with kafka.started(kafka.admin(self.settings())) as admin:
            made = [NewTopic(name, partitions, 1) for name in names]
            answer = await admin.create_topics(made)
            assert all(code == 0 for _, code, *_ in answer.topic_errors), answer

    async def topic(self, what: str, partitions: int = 1) -> str:
        """A new topic of this test alone."""
        found = self.name(what)
        await self.topics(found, partitions=partitions)
        return found

    async def topic_again(self, name: str, partitions: int = 1) -> None:
        """Delete a topic and make it anew, empty."""
        await self.delete_topic(name)
        await self.topics(name, partitions=partitions)

    async def delete_topic(self, name: str) -> None:
        async with kafka.started(kafka.admin(self.settings())) as admin:
            await admin.delete_topics([name])
            await eventually(admin.list_topics, lambda left: name not in left)

    async def schema(self) -> str:
        """A new schema with outbox, inbox and parked events, as each service has it."""
        found = self.name("service")
        connection = await asyncpg.connect(self.server.admin_uri)
        try:
            await connection.execute(f"CREATE SCHEMA {found}")
            for sql in migrations.event_tables(found):
                await connection.execute(sql)
        finally:
            await connection.close()
        return found

    @contextlib.asynccontextmanager
    async def pool(self, name: str) -> AsyncIterator[Pool]:
        pool = await open_pool(self.settings(), name)
        try:
            yield pool
        finally:
            await pool.close()

    async def send(self, topic: str, records: Sequence[Outgoing | bytes]) -> None:
        """Records as they are; bytes are a value without key and headers."""
        producer = kafka.producer(self.settings())
        await producer.start()
        try:
            for one in records:
                if isinstance(one, bytes):
                    await producer.send_and_wait(topic, one)
                else:
                    await producer.send_and_wait(
                        topic, one.value, key=one.key, headers=list(one.headers)
                    )
        finally:
            await producer.stop()

    async def records(self, topic: str) -> list[Record]:
        """Every committed record of `topic`, partition by partition."""
        async with kafka.started(kafka.consumer(self.settings())) as consumer:
            partitions = await kafka.partitions_of(consumer, [topic])
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[Record] = []
            async with asyncio.timeout(20):
                while [p for p in partitions if await consumer.position(p) < ends[p]]:
                    got = await consumer.getmany(timeout_ms=50)
                    found += [kafka.record_of(one) for batch in got.values() for one in batch]
        return sorted(found, key=lambda one: (one.partition, one.offset))

    async def committed(self, group_id: str, topic: str) -> list[OffsetAndMetadata]:
        """What this group has committed for `topic`, by partition; empty when nothing."""
        async with kafka.started(kafka.admin(self.settings())) as admin:
            offsets = await admin.list_consumer_group_offsets(group_id)
        return [at for p, at in sorted(offsets.items()) if p.topic == topic and at.offset >= 0]

    async def set_committed(self, group_id: str, topic: str, offset: int) -> None:
        """Let a group without members have committed `offset` for partition 0 of `topic`."""
        async with kafka.started(kafka.consumer(self.settings(), group=group_id)) as consumer:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            await consumer.commit({partition: offset})

    async def put_position(self, schema: str, position: str) -> None:
        await put_position(self.settings(), schema, position)

    def user(self, name: str, grants: Sequence[tuple[str, str, str]]) -> Settings:
        """A user who may do just `grants`: (operation, kind, name); its settings."""
        admin = KafkaAdminClient(**kafka.connection(self.settings()))
        try:
            admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(name, ScramMechanism.SCRAM_SHA_512, _ADMIN)]
            )
        finally:
            admin.close()
        self.allow(name, grants)
        return self.settings(name)

    def allow(self, user: str, grants: Sequence[tuple[str, str, str]]) -> None:
        admin = KafkaAdminClient(**kafka.connection(self.settings()))
        try:
            answer = admin.create_acls(
                [
                    ACL(
                        principal=f"User:{user}",
                        host="*",
                        operation=ACLOperation[operation],
                        permission_type=ACLPermissionType.ALLOW,
                        resource_pattern=ResourcePattern(
                            ResourceType[kind], name, ACLResourcePatternType.LITERAL
                        ),
                    )
                    for operation, kind, name in grants
                ]
            )
        finally:
            admin.close()
        assert not answer["failed"], answer


async def put_position(settings: Settings, schema: str, position: str) -> None:
    """Say that the relay of `schema` stands at "xid:seq"."""
    producer = kafka.producer(settings, transactional_id=group(schema))
    async with kafka.started(producer), producer.transaction():
        await producer.send_offsets_to_transaction(
            {TopicPartition("outbox.positions", 0): OffsetAndMetadata(1, position)},
            group(schema),
        )


@contextlib.asynccontextmanager
async def forwarding(port: int, address: str) -> AsyncIterator[None]:
    """What comes to `port` of this machine goes on to `address`, and back."""
    host, _, there = address.partition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(there))
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    async with await asyncio.start_server(met, "127.0.0.1", port):
        yield


@contextlib.asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator["asyncio.Future[None]"]:
    """`work` beside the test, cancelled at the end. What ended it before is raised."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        ended = task.done()
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if ended and result is not None:
            raise result
