"""An SMSC with one phone behind it on this machine, which has every number, and its page.

It is a real SMPP 3.4 server, and it can misbehave as real ones do. These numbers go wrong:

    +886900000088    refused: too many messages (ESME_RTHROTTLED)
    +886900000020    refused: queue full (ESME_RMSGQFUL)
    +886900000011    refused: no such number (ESME_RINVDSTADR)
    +886900000000    taken, never answered
    +886900000010    taken, and answered two seconds later
    +886900000099    taken, and the link is cut before the answer
    +886900000005    taken, and the receipt says UNDELIV
    +886900000006    taken, and the receipt comes half a minute late
    +886900000007    taken, and the receipt comes twice
    +886900000008    taken, and after the receipt come older ones: ACCEPTD, then EXPIRED
    +886900000009    taken, and before the receipt comes one for a message that nobody sent

The HTTP gateway (docs/gateway.md) has the same phone behind it, and fails for the same numbers.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import smpp34
import structlog

from deploy.counterparts.behaviour import Behaviour, by_number
from deploy.counterparts.gate import Gate
from deploy.counterparts.gateway import GATEWAY_ID, Gateway
from deploy.counterparts.phone import Part, Phone, read_part
from deploy.counterparts.screen import add_routes
from deploy.counterparts.settings import PhoneSettings
from shared.runtime.logs import configure
from shared.runtime.process import run_parts
from shared.runtime.settings import load
from shared.runtime.web import new_app, serve

log = structlog.get_logger()
_IS_RECEIPT = 0b0000_0100
_RECEIPT_AGAIN_AFTER_S = 0.5
# message_state of SMPP 3.4, 5.2.28.
_STATES = {"DELIVRD": 2, "EXPIRED": 3, "UNDELIV": 5, "ACCEPTD": 6}


_REFUSALS = {
    Behaviour.THROTTLE: smpp34.ESME_RTHROTTLED,
    Behaviour.QUEUE_FULL: smpp34.ESME_RMSGQFUL,
    Behaviour.REFUSE: smpp34.ESME_RINVDSTADR,
}
_LATE_S = 30.0


class Smsc:
    """Takes short messages on `host` and `port` (0: any free one, see `port`) for `phone`.

    Receipts follow `receipt_after_s` later. One that the client does not take (it is gone, or it
    answers with an error) is brought again until it does, also after a restart.
    """

    def __init__(
        self,
        phone: Phone,
        host: str,
        port: int,
        system_id: str,
        password: str,
        behave: Callable[[Part], Behaviour] = by_number,
        receipt_after_s: float = 0.3,
        slow_s: float = 2.0,
    ) -> None:
        inner_port = _free_port()
        self._phone = phone
        self._server = smpp34.Server("127.0.0.1", inner_port, system_id="casebus-smsc")
        self._gate = Gate(host, port, inner_port, system_id, password)
        self._behave = behave
        self._receipt_after_s = receipt_after_s
        self._slow_s = slow_s
        self._bound: dict[str, Any] = {}
        self._somebody_bound = asyncio.Event()
        # Dropped, an event would be answered with an error.
        self._unanswered: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return self._gate.port

    @property
    def listening(self) -> bool:
        return self._gate.listening

    def cut(self) -> None:
        """Cut every link, as a fault in the network does."""
        self._gate.cut()

    async def start(self) -> None:
        await self._server.start()
        await self._gate.start()
        self._background(self._serve())
        for part in self._phone.without_receipt():
            if not part.id.startswith(GATEWAY_ID):
                self._background(self._bring_receipt(part))

    async def stop(self) -> None:
        await self._gate.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._unanswered.clear()
        await self._server.stop()

    async def run(self) -> None:
        await self.start()
        log.info("sms.listening", port=self.port)
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def _serve(self) -> None:
        while True:
            event = await self._server.next()
            match event:
                case smpp34.Esme():
                    self._bound[event.session_id] = event
                    self._somebody_bound.set()
                case smpp34.Unbound():
                    self._bound.pop(event.session_id, None)
                    if not self._bound:
                        self._somebody_bound.clear()
                case smpp34.SubmitSmEvent():
                    self._take(event)

    def _take(self, event: Any) -> None:
        try:
            part = read_part(
                uuid4().hex,
                event.destination_addr,
                event.source_addr,
                event.esm_class,
                event.data_coding,
                event.short_message,
                datetime.now(UTC),
            )
        except (ValueError, IndexError):
            event.reject(smpp34.ESME_RINVMSGLEN)
            return
        behaviour = self._behave(part)
        if behaviour in _REFUSALS:
            event.reject(_REFUSALS[behaviour])
            return
        self._phone.take(part)
        if behaviour is Behaviour.CUT:
            self.cut()
        if behaviour in (Behaviour.CUT, Behaviour.SILENT):
            self._unanswered.append(event)
            return
        if behaviour is Behaviour.SLOW:
            self._background(self._answer_late(event, part))
        else:
            self._answer(event, part)

    async def _answer_late(self, event: Any, part: Part) -> None:
        await asyncio.sleep(self._slow_s)
        self._answer(event, part)

    def _answer(self, event: Any, part: Part) -> None:
        event.accept(part.id)
        if event.registered_delivery & 1:
            self._background(self._bring_receipt(part))

    async def _bring_receipt(self, part: Part) -> None:
        behaviour = self._behave(part)
        late_s = _LATE_S if behaviour is Behaviour.LATE else 0.0
        await asyncio.sleep(self._receipt_after_s + late_s)
        word = "UNDELIV" if behaviour is Behaviour.UNDELIVERABLE else "DELIVRD"
        words = {
            Behaviour.TWICE: (word, word),
            Behaviour.DISORDERED: (word, "ACCEPTD", "EXPIRED"),
        }.get(behaviour, (word,))
        if behaviour is Behaviour.STRANGE:
            await self._deliver(replace(part, id=uuid4().hex), word)
        for one in words:
            await self._deliver(part, one)
        self._phone.receipted(part.id)

    async def _deliver(self, part: Part, word: str) -> None:
        """One receipt, until somebody takes it."""
        while True:
            await self._somebody_bound.wait()
            esme = next(reversed(self._bound.values()))
            with suppress(smpp34.SmppError):
                answer = await esme.deliver_sm(
                    part.sender,
                    _receipt_text(part, word),
                    source_addr=part.to,
                    esm_class=_IS_RECEIPT,
                    tlvs=[
                        smpp34.Tlv(smpp34.TLV_RECEIPTED_MESSAGE_ID, part.id.encode() + b"\0"),
                        smpp34.Tlv(smpp34.TLV_MESSAGE_STATE, bytes((_STATES[word],))),
                    ],
                )
                if answer.is_success:
                    return
            await asyncio.sleep(_RECEIPT_AGAIN_AFTER_S)

    async def answer(self, sender: str, text: str, to: str = "1999") -> bool:
        """A citizen's answer from `sender` (digits) to whoever is bound; whether it was taken."""
        await self._somebody_bound.wait()
        esme = next(reversed(self._bound.values()))
        found = await esme.deliver_sm(
            to, text.encode("utf-16-be"), source_addr=sender, data_coding=8
        )
        return bool(found.is_success)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load(PhoneSettings)
    configure("sms", settings.log_level)
    phone = Phone(settings.data_dir / "sms.jsonl")
    smsc = Smsc(
        phone,
        settings.host,
        settings.smpp_port,
        settings.smpp_system_id,
        settings.smpp_password.get_secret_value(),
    )

    async def check() -> dict[str, bool]:
        return {"smpp": smsc.listening}

    app = new_app("casebus simulated phone", check)
    add_routes(app, "phone", phone.all)
    gateway = Gateway(phone, settings.gateway_token.get_secret_value())
    if settings.gateway_token.get_secret_value():
        gateway.add_routes(app)
    try:
        await run_parts({"smpp": smsc.run(), "http": serve(app, settings.host, settings.port)})
    finally:
        await gateway.stop()
        phone.close()


def _receipt_text(part: Part, word: str) -> bytes:
    """The form of SMPP 3.4, appendix B."""
    done = part.at.strftime("%y%m%d%H%M")
    delivered = 1 if word == "DELIVRD" else 0
    return (
        f"id:{part.id} sub:001 dlvrd:{delivered:03d} submit date:{done} done date:{done} "
        f"stat:{word} err:000 text:"
    ).encode()


def _free_port() -> int:
    """smpp34 does not tell which port it got for 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
