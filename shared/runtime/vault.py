"""Sealed data: AES-256-GCM under a key of that case, which is wrapped by the master key.

Deleting a case's key makes what was sealed for it unreadable everywhere, Kafka's history too.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from shared.contract.errors import PermanentError
from shared.runtime.postgres import Connection

_NONCE_BYTES = 12


_BROKEN = PermanentError("vault.broken", "sealed data cannot be opened")


class CaseKey:
    """The key of one case, in clear; lives as short as the work that needs it."""

    def __init__(self, case_id: UUID, key: bytes) -> None:
        self._case = case_id.bytes
        self._cipher = AESGCM(key)

    def seal(self, clear: bytes) -> str:
        """`clear` under this key, bound to the case, as base64."""
        return b64encode(self.seal_bytes(clear)).decode()

    def seal_bytes(self, clear: bytes) -> bytes:
        """The same without base64, for what is large."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, clear, self._case)

    def unseal(self, sealed: str) -> bytes:
        """What was sealed. Raises PermanentError vault.broken when it is not ours or changed."""
        try:
            raw = b64decode(sealed, validate=True)
        except ValueError as error:
            raise _BROKEN from error
        return self.unseal_bytes(raw)

    def unseal_bytes(self, sealed: bytes) -> bytes:
        """What seal_bytes sealed. Raises as unseal does."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._case)
        except (ValueError, InvalidTag) as error:
            raise _BROKEN from error


class NoKeyError(PermanentError):
    """The key of a case was destroyed, or there never was one: nothing of it can be read."""


class Vault:
    """Makes and opens the keys of cases; every opening is written down with its purpose."""

    def __init__(self, master_key: SecretStr) -> None:
        self._master = AESGCM(b64decode(master_key.get_secret_value()))

    def new_key(self, case_id: UUID) -> tuple[CaseKey, bytes]:
        """A fresh key and its wrapped form, which `vault.create_key` keeps."""
        key = os.urandom(32)
        nonce = os.urandom(_NONCE_BYTES)
        return CaseKey(case_id, key), nonce + self._master.encrypt(nonce, key, case_id.bytes)

    async def open(self, connection: Connection, case_id: UUID, purpose: str) -> CaseKey:
        """The key of a case. Raises NoKeyError once it was shredded."""
        wrapped = await connection.fetchval("SELECT vault.open_key($1, $2)", case_id, purpose)
        return self._unwrapped(case_id, wrapped)

    async def open_many(
        self, connection: Connection, case_ids: Sequence[UUID], purpose: str
    ) -> dict[UUID, CaseKey | PermanentError]:
        """The keys of these cases, in one question; of each that cannot be opened, why."""
        found = await connection.fetch(
            "SELECT case_id, vault.open_key(case_id, $2) AS wrapped"
            " FROM unnest($1::uuid[]) AS asked(case_id)",
            case_ids,
            purpose,
        )
        opened: dict[UUID, CaseKey | PermanentError] = {}
        for row in found:
            try:
                opened[row["case_id"]] = self._unwrapped(row["case_id"], row["wrapped"])
            except PermanentError as error:
                opened[row["case_id"]] = error
        return opened

    def _unwrapped(self, case_id: UUID, wrapped: bytes | None) -> CaseKey:
        if wrapped is None:
            raise NoKeyError("vault.no_key", f"case {case_id} has no key (any more)")
        try:
            key = self._master.decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], case_id.bytes
            )
            return CaseKey(case_id, key)
        except (ValueError, InvalidTag) as error:
            raise PermanentError("vault.master_key", "the master key does not fit") from error
