"""SMS through an SMSC: which number, which parts, which refusal."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

import phonenumbers
import structlog
from aiosmpplib.protocol import BindTransceiver, SubmitSm
from aiosmpplib.state import NPI, TON, PhoneNumber, SmppCommandStatus

from services.notifier.channels.port import (
    Accepted,
    OnReceipt,
    OnReply,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Provider,
    Receipt,
    Reply,
    TemporaryRefusal,
)
from services.notifier.channels.receipts import read_delivery
from services.notifier.channels.segments import Segments, segment
from services.notifier.channels.smpp import (
    BindRefused,
    LinkLost,
    SmppSession,
    WindowFull,
    status_name,
)

log = structlog.get_logger()
_TRY_AGAIN = {
    SmppCommandStatus.ESME_RTHROTTLED,
    SmppCommandStatus.ESME_RMSGQFUL,
    SmppCommandStatus.ESME_RSYSERR,
    SmppCommandStatus.ESME_RX_T_APPN,
}
# The city's contracts carry national numbers only.
_COUNTRY = 886
_WITH_HEADER = 0b0100_0000  # esm_class: the message begins with a user data header
_WANT_RECEIPT = 1
# That many parts, each answered at the last moment, end within the dispatcher's lease of 60 s.
_MOST_PARTS = 4
_RECONNECT_AFTER_S = (0.2, 1.0, 2.0, 5.0, 15.0)


class SmppProvider(Provider):
    """Sends each part in turn; the receipt of each is reported through `on_receipt` as it comes.

    The reference that the parts share comes from the notice's id: when a message is tried again
    after its second part was refused, a phone joins both tries to the same message. A receipt, or
    a citizen's answer, is acknowledged after `on_receipt` or `on_reply` returned; when that
    raises, the SMSC is asked to bring it again.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        system_id: str,
        password: str,
        sender: str,
        on_receipt: OnReceipt,
        on_reply: OnReply,
        *,
        window: int = 32,
        answer_timeout_s: float = 10.0,
        link_timeout_s: float = 3.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises ValueError when the SMSC could never take these (a password above 8 letters)."""
        BindTransceiver(system_id=system_id, password=password).pdu()
        self.name = name
        self._source = _source(sender)
        self._address = (host, port, system_id, password)
        self._on_receipt = on_receipt
        self._on_reply = on_reply
        self._window = window
        self._answer_timeout_s = answer_timeout_s
        self._link_timeout_s = link_timeout_s
        self._now = now
        self._session: SmppSession | None = None
        self._bound = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep_bound())
        with suppress(TimeoutError):
            await self._link()

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._session is not None:
            await self._session.unbind(self._link_timeout_s)
            self._session = None

    async def send(self, message: Outgoing) -> Accepted:
        destination = _destination(message.to)
        segments = _segments(message)
        try:
            session = await self._link()
        except TimeoutError:
            raise TemporaryRefusal("sms.no_connection") from None
        message_ids: list[str] = []
        for part in segments.parts:
            submit = self._submit_sm(destination, part, segments)
            try:
                status = await session.submit(submit, message_ids.append, self._answer_timeout_s)
            except WindowFull:
                raise TemporaryRefusal("sms.window_full") from None
            except TimeoutError:
                raise OutcomeUnknown("sms.no_answer") from None
            except LinkLost:
                raise OutcomeUnknown("sms.link_lost") from None
            if status in _TRY_AGAIN:
                raise TemporaryRefusal(f"sms.{status_name(status)}")
            if status != SmppCommandStatus.ESME_ROK:
                raise PermanentRefusal(f"sms.{status_name(status)}")
        return Accepted(tuple(message_ids))

    def _submit_sm(self, destination: PhoneNumber, part: bytes, segments: Segments) -> SubmitSm:
        submit = SubmitSm(
            short_message="-",  # the library demands a text; what it sends is set below
            source=self._source,
            destination=destination,
            esm_class=_WITH_HEADER if segments.concatenated else 0,
            registered_delivery=_WANT_RECEIPT,
            encoding=segments.alphabet,
        )
        submit.set_encoded_message(part)
        return submit

    async def _link(self) -> SmppSession:
        """The bound session; waits a moment for one. Raises TimeoutError."""
        async with asyncio.timeout(self._link_timeout_s):
            while self._session is None or self._session.closed.is_set():
                self._bound.clear()
                await self._bound.wait()
        return self._session

    async def _keep_bound(self) -> None:
        failures = 0
        while True:
            try:
                self._session = await SmppSession.open(
                    *self._address,
                    self._on_deliver,
                    timeout_s=self._link_timeout_s,
                    window=self._window,
                )
            except (OSError, TimeoutError, LinkLost, BindRefused) as error:
                log.warning("sms.bind_failed", error=repr(error))
                wait_s = _RECONNECT_AFTER_S[min(failures, len(_RECONNECT_AFTER_S) - 1)]
                failures += 1
                await asyncio.sleep(wait_s)
                continue
            failures = 0
            log.info("sms.bound")
            self._bound.set()
            await self._session.closed.wait()
            await self._session.close()
            log.warning("sms.link_lost")

    async def _on_deliver(self, body: bytes) -> SmppCommandStatus:
        try:
            delivery = read_delivery(body)
        except ValueError as error:
            log.warning("sms.receipt_unreadable", error=str(error))
            return SmppCommandStatus.ESME_RX_P_APPN
        try:
            if delivery.receipt is None:
                await self._answered(delivery.sender, delivery.text)
            elif delivery.receipt.state is not None:
                # Our own clock: an SMSC writes its local time and does not say which.
                receipt = Receipt(
                    self.name,
                    delivery.receipt.message_id,
                    delivery.receipt.state,
                    self._now(),
                    code=delivery.receipt.code,
                )
                await self._on_receipt(receipt)
        except Exception as error:  # noqa: BLE001  whatever it was, the SMSC keeps the receipt
            log.warning("sms.receipt_not_kept", error=type(error).__name__)
            return SmppCommandStatus.ESME_RX_T_APPN
        return SmppCommandStatus.ESME_ROK

    async def _answered(self, sender: str, text: str) -> None:
        """A citizen answered."""
        try:
            number = phonenumbers.parse("+" + sender.lstrip("+"), None)
            if not phonenumbers.is_valid_number(number):
                number = phonenumbers.parse(sender, "TW")
        except phonenumbers.NumberParseException:
            log.warning("sms.reply_from_nobody")
            return
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        await self._on_reply(Reply(self.name, e164, text))


def destination_problem(to: str) -> str | None:
    """Why no text message can go to this number, as a code; None when it can."""
    try:
        _destination(to)
    except PermanentRefusal as error:
        return error.code
    return None


@lru_cache(maxsize=10_000)
def _number(to: str) -> str:
    """The digits of a mobile of this country, or the code of what is wrong with it."""
    try:
        number = phonenumbers.parse(to, None)
    except phonenumbers.NumberParseException:
        return "sms.not_a_number"
    kind = phonenumbers.number_type(number)
    if number.country_code != _COUNTRY:
        return "sms.foreign"
    if kind == phonenumbers.PhoneNumberType.FIXED_LINE:
        return "sms.landline"
    if kind != phonenumbers.PhoneNumberType.MOBILE:
        return "sms.not_mobile"
    if number.extension:
        return "sms.has_extension"
    return f"{number.country_code}{phonenumbers.national_significant_number(number)}"


def _destination(to: str) -> PhoneNumber:
    found = _number(to)
    if not found.isdecimal():
        raise PermanentRefusal(found)
    return PhoneNumber(found, TON.INTERNATIONAL, NPI.ISDN)


def _source(sender: str) -> PhoneNumber:
    """+886..., a short code such as 1999, or a name of at most 11 letters."""
    if sender.startswith("+"):
        return PhoneNumber(sender[1:], TON.INTERNATIONAL, NPI.ISDN)
    if sender.isdecimal():
        return PhoneNumber(sender, TON.NETWORK_SPECIFIC, NPI.UNKNOWN)
    if not sender.isascii() or len(sender) > 11:
        raise ValueError("a sender's name has at most 11 ASCII letters")
    return PhoneNumber(sender, TON.ALPHANUMERIC, NPI.UNKNOWN)


def _segments(message: Outgoing) -> Segments:
    try:
        segments = segment(message.text, message.notice_id.int & 0xFFFF)
    except ValueError:
        raise PermanentRefusal("sms.text") from None
    if len(segments.parts) > _MOST_PARTS:
        raise PermanentRefusal("sms.too_long")
    return segments
