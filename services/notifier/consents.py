"""What citizens want of an address, and who said so. Nothing is changed, all is added."""

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.notifier.domain import (
    CHANNELS,
    ChannelName,
    Choice,
    contact_of,
    hash_of,
    quiet_text,
)
from services.notifier.preferences import Preferences, Shown, masked
from services.notifier.store import choice_of, sql
from shared.contract.errors import PermanentError
from shared.runtime import metrics
from shared.runtime.postgres import Connection, Pool, rows
from shared.runtime.vault import Vault

_STOPS = frozenset({"stop", "stop all", "stopall", "unsubscribe", "停止", "停", "退訂", "取消訂閱"})


def is_stop(text: str) -> bool:
    """Whether a citizen's answer means: no more messages. Full-width letters count too."""
    return unicodedata.normalize("NFKC", text).strip(" .!。！\r\n\t").casefold() in _STOPS


class Consents:
    """The table, and the addresses that it knows by their keyed hashes only.

    `secret` keys the hashes.
    """

    def __init__(self, pool: Pool, vault: Vault, secret: bytes) -> None:
        self.secret = secret
        self._pool = pool
        self._vault = vault

    async def of(self, number: int) -> Shown | None:
        """What the citizen of this link may see and choose; None when there is none (any more)."""
        async with self._pool.acquire() as connection:
            row = await sql.recipient(connection, seq=number)
            addresses = None if row is None else await self._addresses(connection, row)
            if row is None or addresses is None:
                return None
            found = await self._choices(connection, addresses)
        chosen = {
            channel: found.get(self._hash(channel, addresses), Choice()) for channel in CHANNELS
        }
        last = chosen["sms"] if addresses["sms"] else chosen["mail"]
        return Shown(
            number=row["number"],
            phone=masked(addresses["sms"]),
            email=masked(addresses["mail"]),
            preferences=Preferences(
                sms=chosen["sms"].wants,
                mail=chosen["mail"].wants,
                language="en" if (last.language or addresses["language"]) == "en" else "zh-TW",
                quiet=last.quiet,
            ),
        )

    async def choose(self, number: int, preferences: Preferences, at: datetime) -> None:
        """The citizen of this link chose: for each of their addresses."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await sql.recipient(connection, seq=number)
            addresses = None if row is None else await self._addresses(connection, row)
            if addresses is None:
                return
            for channel, wants in (("sms", preferences.sms), ("mail", preferences.mail)):
                if addresses[channel]:
                    choice = Choice(wants, "citizen", preferences.language, preferences.quiet)
                    await self._put(connection, channel, addresses[channel] or "", choice, "")

    async def stop(self, channel: ChannelName, address: str, given_by: str, reason: str) -> None:
        """No more messages to this address, in clear, whoever's cases they are of."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._change(connection, channel, address, False, given_by, reason)

    async def change_of_case(
        self,
        connection: Connection,
        number: str,
        channel: ChannelName,
        wants: bool,
        given_by: str,
        reason: str,
    ) -> str:
        """For an operator: the address that this case has on the channel. What came of it."""
        row = await sql.recipient_of(connection, number=number)
        addresses = None if row is None else await self._addresses(connection, row)
        if addresses is None:
            return "no such case, or its address was forgotten"
        address = addresses[channel]
        if not address:
            return f"the case has no address for {channel}"
        await self._change(connection, channel, address, wants, given_by, reason)
        return "messages go there again" if wants else "no more messages go there"

    async def _change(
        self,
        connection: Connection,
        channel: ChannelName,
        address: str,
        wants: bool,
        given_by: str,
        reason: str,
    ) -> None:
        hashed = hash_of(self.secret, channel, address)
        found = await rows(sql.choices(connection, addresses=[hashed]))
        before = choice_of(found[0]) if found else Choice()
        choice = Choice(wants, given_by, before.language, before.quiet)
        await self._put(connection, channel, address, choice, reason)

    async def _put(
        self, connection: Connection, channel: str, address: str, choice: Choice, reason: str
    ) -> None:
        await sql.put_choice(
            connection,
            address=hash_of(self.secret, channel, address),
            channel=channel,
            wants=choice.wants,
            language=choice.language,
            quiet=quiet_text(choice.quiet),
            given_by=choice.given_by,
            reason=reason,
        )
        metrics.CONSENTS.labels(channel, choice.given_by).inc()

    async def _addresses(self, connection: Connection, row: Any) -> dict[str, str | None] | None:
        """By channel, and the language; None when they can no more be opened."""
        try:
            key = await self._vault.open(connection, row["case_id"], "preferences")
            contact = contact_of(key.unseal(row["sealed"]))
        except (PermanentError, ValueError):
            return None
        return {
            "sms": contact.get("phone") or None,
            "mail": contact.get("email") or None,
            "language": contact.get("language") or "zh-TW",
        }

    async def _choices(
        self, connection: Connection, addresses: Mapping[str, str | None]
    ) -> Mapping[bytes, Choice]:
        hashed = [self._hash(channel, addresses) for channel in CHANNELS if addresses[channel]]
        found = await rows(sql.choices(connection, addresses=hashed))
        return {row["address"]: choice_of(row) for row in found}

    def _hash(self, channel: str, addresses: Mapping[str, str | None]) -> bytes:
        return hash_of(self.secret, channel, addresses[channel] or "")
