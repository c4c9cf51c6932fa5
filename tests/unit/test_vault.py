"""Sealed data: only the key of its own case opens it, and only as it was sealed."""

import base64
import os
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.contract.errors import PermanentError
from shared.runtime.vault import CaseKey, Vault

CASE, OTHER = uuid4(), uuid4()
KEY = os.urandom(32)


def _vault() -> Vault:
    return Vault(SecretStr(base64.b64encode(os.urandom(32)).decode()))


def _code(key: CaseKey, sealed: str) -> str:
    with pytest.raises(PermanentError) as refused:
        key.unseal(sealed)
    return refused.value.code


@given(st.binary(max_size=500))
def test_what_was_sealed_is_opened_again(clear: bytes) -> None:
    key = CaseKey(CASE, KEY)

    assert key.unseal(key.seal(clear)) == clear


def test_what_is_sealed_shows_nothing_and_never_looks_the_same_twice() -> None:
    key = CaseKey(CASE, KEY)
    one, other = key.seal(b"A123456789"), key.seal(b"A123456789")

    assert b"A123456789" not in base64.b64decode(one)
    assert one != other


@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    key = CaseKey(CASE, KEY)
    raw = bytearray(base64.b64decode(key.seal(b"the applicant")))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))

    assert _code(key, base64.b64encode(raw).decode()) == "vault.broken"


@given(st.data())
def test_what_was_cut_off_is_noticed(data: st.DataObject) -> None:
    key = CaseKey(CASE, KEY)
    raw = base64.b64decode(key.seal(b"the applicant"))
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]

    assert _code(key, base64.b64encode(cut).decode()) == "vault.broken"


@pytest.mark.parametrize("sealed", ["", "not base64!", "中文", "AAAA"])
def test_what_was_never_sealed_is_refused(sealed: str) -> None:
    assert _code(CaseKey(CASE, KEY), sealed) == "vault.broken"


def test_what_was_sealed_for_one_case_does_not_open_as_anothers_even_under_the_same_key() -> None:
    assert _code(CaseKey(OTHER, KEY), CaseKey(CASE, KEY).seal(b"x")) == "vault.broken"


def test_another_key_of_the_same_case_does_not_open_it() -> None:
    assert _code(CaseKey(CASE, os.urandom(32)), CaseKey(CASE, KEY).seal(b"x")) == "vault.broken"


class Kept:
    """The table of keys, as `Vault.open` asks for it."""

    def __init__(self, **wrapped: bytes | None) -> None:
        self._wrapped = {UUID(case): key for case, key in wrapped.items()}
        self.openings: list[tuple[UUID, str]] = []

    async def fetchval(self, query: str, case_id: UUID, purpose: str) -> bytes | None:
        assert "vault.open_key" in query
        self.openings.append((case_id, purpose))
        return self._wrapped.get(case_id)


async def test_a_new_key_is_kept_wrapped_and_opened_again_with_its_purpose() -> None:
    vault = _vault()
    key, wrapped = vault.new_key(CASE)
    sealed = key.seal(b"the applicant")
    kept = Kept(**{str(CASE): wrapped})

    opened = await vault.open(kept, CASE, "notice")  # type: ignore[arg-type]

    assert opened.unseal(sealed) == b"the applicant"
    assert kept.openings == [(CASE, "notice")]


async def test_the_wrapped_key_is_not_the_key() -> None:
    key, wrapped = _vault().new_key(CASE)
    sealed = key.seal(b"x")

    assert _code(CaseKey(CASE, wrapped[12:44]), sealed) == "vault.broken"


@pytest.mark.parametrize("kept", [Kept(), Kept(**{str(CASE): None})], ids=["never", "shredded"])
async def test_a_case_without_a_key_cannot_be_opened(kept: Kept) -> None:
    with pytest.raises(PermanentError) as refused:
        await _vault().open(kept, CASE, "notice")  # type: ignore[arg-type]
    assert refused.value.code == "vault.no_key"


async def test_another_master_key_is_noticed_as_that() -> None:
    _, wrapped = _vault().new_key(CASE)

    with pytest.raises(PermanentError) as refused:
        await _vault().open(Kept(**{str(CASE): wrapped}), CASE, "notice")  # type: ignore[arg-type]
    assert refused.value.code == "vault.master_key"


async def test_a_key_that_was_put_into_another_cases_row_does_not_open_there() -> None:
    vault = _vault()
    _, wrapped = vault.new_key(CASE)

    with pytest.raises(PermanentError) as refused:
        await vault.open(Kept(**{str(OTHER): wrapped}), OTHER, "notice")  # type: ignore[arg-type]
    assert refused.value.code == "vault.master_key"
