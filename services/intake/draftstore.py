"""Drafts and uploaded documents in PostgreSQL, sealed; behind the ports of applying.py."""

import asyncio
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import structlog

from services.intake.domain import keyed
from services.intake.drafts import Attached, Channel, Draft, secret_link
from services.intake.handlers import Application
from services.intake.store import columns, kept, sql
from services.intake.uploads import Upload
from shared.contract.wire import Outgoing
from shared.runtime.postgres import TRANSIENT, Connection, Pool, rows
from shared.runtime.vault import CaseKey, NoKeyError, Vault

log = structlog.get_logger()
_AT_ONCE = 100
_SWEEP_AGAIN: tuple[type[BaseException], ...] = (*TRANSIENT, asyncpg.PostgresError)
_SWEEP_S = 600
_UPLOAD_RESTS = timedelta(hours=1)
_GUESSES_REST = timedelta(days=1)


class PostgresDrafts:
    """`secret` derives the links; a draft that nobody touches is kept for `keep`."""

    def __init__(self, pool: Pool, vault: Vault, secret: bytes, keep: timedelta) -> None:
        self._pool = pool
        self._vault = vault
        self._secret = secret
        self._keep = keep

    def link(self, draft: Draft) -> str:
        return secret_link(self._secret, draft.case_id, "draft")

    def confirmation(self, draft: Draft) -> str:
        return secret_link(self._secret, draft.case_id, f"confirm {draft.revision}")

    async def begin(self, draft: Draft, now: datetime) -> Draft:
        """Keep a new draft. Its case_id is fresh."""
        key, wrapped = self._vault.new_key(draft.case_id)
        expires_at = now + self._keep
        await sql.begin_draft(
            self._pool,
            case_id=draft.case_id,
            token_sha256=_sha256(self.link(draft)),
            service=draft.service,
            channel=draft.channel,
            filed_by=draft.filed_by,
            language=draft.language,
            sealed=key.seal(draft.sealed_json()),
            expires_at=expires_at,
            wrapped=wrapped,
        )
        return replace(draft, expires_at=expires_at)

    async def find(self, link: str, now: datetime) -> Draft | None:
        """By its own link; None when there is none (any more)."""
        return await self._opened(
            await sql.find_draft(self._pool, sha256=_sha256(link.strip().lower()), now=now)
        )

    async def find_confirmation(self, link: str, now: datetime) -> Draft | None:
        """By the link that was sent to confirm it; None when there is none (any more)."""
        return await self._opened(
            await sql.find_confirmation(self._pool, sha256=_sha256(link.strip().lower()), now=now)
        )

    async def _opened(self, row: Any) -> Draft | None:
        if row is None:
            return None
        channel: Channel = row["channel"]
        found = Draft(
            case_id=row["case_id"],
            service=row["service"],
            channel=channel,
            filed_by=row["filed_by"],
            language=row["language"],
            revision=row["revision"],
            state=row["state"],
            number=row["number"],
            expires_at=row["expires_at"],
        )
        if not row["sealed"]:
            return found
        try:
            key = await self._key(found.case_id)
            return found.opened(key.unseal(row["sealed"]))
        except NoKeyError:
            return None  # its key was destroyed

    async def save(self, draft: Draft, now: datetime) -> Draft | None:
        """The draft in its new revision; None when it was changed elsewhere, or received."""
        expires_at = now + self._keep
        key = await self._key(draft.case_id)
        revision = await sql.save_draft(
            self._pool,
            case_id=draft.case_id,
            revision=draft.revision,
            language=draft.language,
            sealed=key.seal(draft.sealed_json()),
            expires_at=expires_at,
        )
        if revision is None:
            return None
        return replace(draft, revision=revision, state="open", expires_at=expires_at)

    async def seal(self, case_id: UUID, clear: bytes) -> str:
        return (await self._key(case_id)).seal(clear)

    async def send(self, draft: Draft, number: str, event: Outgoing, now: datetime) -> bool:
        """It waits for its confirmation; False when it did already, or was changed elsewhere.

        That is a change: another window with the form as it was is told so.
        """
        sent = await sql.send_draft(
            self._pool,
            case_id=draft.case_id,
            revision=draft.revision,
            number=number,
            confirm_sha256=_sha256(self.confirmation(draft)),
            expires_at=now + self._keep,
            **columns(event),
        )
        return sent is not None

    async def receive(self, draft: Draft, application: Application, event: Outgoing) -> bool:
        """The draft becomes a case; False when it is one already, or was changed elsewhere."""
        received = await sql.receive_draft(
            self._pool,
            revision=draft.revision,
            **kept(application),
            **columns(event),
        )
        return received is not None

    async def application(self, case_id: UUID, purpose: str) -> dict[str, Any]:
        """What was applied for. Raises NoKeyError once the case's key is destroyed."""
        sealed = await sql.sealed_of(self._pool, case_id=case_id)
        clear: dict[str, Any] = json.loads((await self._key(case_id, purpose)).unseal(sealed))
        return clear

    async def attach(self, case_id: UUID, field: str, upload: Upload) -> Attached:
        """Keep a document for a case; the same content is kept once, whoever brings it."""
        digest = keyed(self._secret, "upload", upload.sha256)
        async with self._pool.acquire() as connection, connection.transaction():
            if await sql.known_upload(connection, digest=digest) is None:
                await self._put(connection, digest, upload)
                # Now it is there, ours or somebody else's, and held.
                await sql.known_upload(connection, digest=digest)
            await sql.attach(connection, case_id=case_id, digest=digest)
        return Attached(
            field, upload.name, digest.hex(), upload.media_type, upload.pages, len(upload.content)
        )

    async def _put(self, connection: Connection, digest: bytes, upload: Upload) -> None:
        key_id = uuid4()
        key, wrapped = self._vault.new_key(key_id)
        sealed = await asyncio.to_thread(key.seal_bytes, upload.content)
        try:
            async with connection.transaction():
                await sql.put_upload(
                    connection,
                    digest=digest,
                    key_id=key_id,
                    media_type=upload.media_type,
                    pages=upload.pages,
                    sealed=sealed,
                    wrapped=wrapped,
                )
        except asyncpg.UniqueViolationError:
            pass  # somebody else brought the same a moment ago

    async def keep_only(self, draft: Draft) -> None:
        """Let go of documents that the draft names no more."""
        named = {one.digest for one in draft.documents}
        for row in await rows(sql.attachments_of(self._pool, case_id=draft.case_id)):
            if row["digest"].hex() not in named:
                await sql.detach(self._pool, case_id=draft.case_id, digest=row["digest"])

    async def document(self, case_id: UUID, digest: str, purpose: str) -> tuple[str, bytes] | None:
        """Media type and content of a document of this case; the opening is written down."""
        try:
            wanted = bytes.fromhex(digest)
        except ValueError:
            return None
        async with self._pool.acquire() as connection:
            row = await sql.find_upload(connection, case_id=case_id, digest=wanted)
            if row is None:
                return None
            try:
                # Whoever may not open the case any more may not open its documents; and it is
                # written down of which case one was.
                await self._vault.open(connection, case_id, purpose)
                key = await self._vault.open(connection, row["key_id"], purpose)
            except NoKeyError:
                return None
        return row["media_type"], await asyncio.to_thread(key.unseal_bytes, row["sealed"])

    async def sweep(self, now: datetime) -> None:
        """Drafts that nobody finished, documents that nobody has, and old guesses go."""
        while found := await rows(sql.expired_drafts(self._pool, now=now, most=_AT_ONCE)):
            for row in found:
                await sql.forget_draft(self._pool, case_id=row["case_id"], now=now)
        before = now - _UPLOAD_RESTS
        while found := await rows(sql.unused_uploads(self._pool, before=before, most=_AT_ONCE)):
            forgotten = 0
            for row in found:
                forgotten += await sql.forget_upload(self._pool, digest=row["digest"]) or 0
            if not forgotten:
                break  # each was taken up again meanwhile
        await sql.forget_guesses(self._pool, before=now - _GUESSES_REST)

    async def sweep_for_ever(self) -> None:
        """Every ten minutes; what is down is tried again then."""
        while True:
            try:
                await self.sweep(datetime.now(UTC))
            except _SWEEP_AGAIN as error:
                log.warning("drafts.sweep_failed", error=type(error).__name__)
            await asyncio.sleep(_SWEEP_S)

    async def _key(self, case_id: UUID, purpose: str = "draft") -> CaseKey:
        async with self._pool.acquire() as connection:
            return await self._vault.open(connection, case_id, purpose)


def _sha256(link: str) -> bytes:
    return hashlib.sha256(link.encode("utf-8", "replace")).digest()
