"""The input of every measurement: applications from one seed, as requests and as events."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from pydantic import SecretStr

from casebus.sample import applications
from catalogue import load_catalogue
from services.intake.domain import ApplicationForm, check
from services.intake.identity import case_number
from shared.contract.events import ApplicationSubmitted, derived_id
from shared.contract.wire import Outgoing, encode
from shared.runtime.vault import Vault

SEED = 1895
_NAMESPACE = UUID("6b1f0f4e-7f0a-4b58-9d7c-2f1f5f6c9a10")
# Any key will do: nobody opens what is sealed here, only its size matters.
_MASTER_KEY = SecretStr("A" * 43 + "=")
# The demo's answers are short; a form with some free text makes an event of some 900 bytes.
_REASON = (
    "因原核發文件遺失，且近期須檢附辦理子女就學及租屋補助事宜，請惠予核發，如需補件請電話通知。"
)


def bodies() -> Iterator[bytes]:
    """Endless bodies for POST /api/applications, all of them to be accepted."""
    for body in _bodies():
        yield json.dumps(body, ensure_ascii=False).encode()


def _bodies() -> Iterator[dict[str, Any]]:
    for sample in applications(load_catalogue(), SEED, invalid_share=0.0):
        sample.body["answers"]["reason"] = _REASON
        yield sample.body


def submitted(topic: str) -> Iterator[Outgoing]:
    """Endless application.submitted events as intake makes them, sealed part included."""
    now = datetime.now(UTC)
    for out, _, _ in submitted_with_keys(topic, _MASTER_KEY, lambda: now):
        yield out


def submitted_with_keys(
    topic: str, master_key: SecretStr, clock: Callable[[], datetime]
) -> Iterator[tuple[Outgoing, UUID, bytes]]:
    """The same, each with its case and the case's key, wrapped by `master_key`."""
    catalogue, vault = load_catalogue(), Vault(master_key)
    for n, body in enumerate(_bodies(), start=1):
        checked, errors = check(ApplicationForm.model_validate(body), catalogue)
        if checked is None:
            raise ValueError(f"sample {n} is not valid: {errors}")
        now = clock()
        case_id = uuid5(_NAMESPACE, str(n))
        key, wrapped = vault.new_key(case_id)
        parts: Any = {"applicant", "contact", "address", "answers"}
        event = ApplicationSubmitted(
            id=derived_id(case_id, "submitted"),
            source="intake",
            time=now,
            case_id=case_id,
            number=case_number(now.date(), n),
            service=checked.form.service,
            received_at=now,
            facts=checked.facts,
            sealed=key.seal(checked.form.model_dump_json(include=parts).encode()),
        )
        yield encode(topic, event), case_id, wrapped
