"""SMS through an SMSC: which number, which parts, which refusal."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import phonenumbers
import structlog
from aiosmpplib.protocol import BindTransceiver, SubmitSm
from aiosmpplib.state import NPI, TON, PhoneNumber, SmppCommandStatus

from services.notifier.channels.port import (
    Accepted,
    Channel,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Receipt,
    TemporaryRefusal,
)
from services.notifier.channels.receipts import PartsLedger, Whole, read_receipt
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
_WITH_HEADER = 0b0100_0000  # esm_class: the message begins with a user data header
_WANT_RECEIPT = 1
# That many parts, each answered at the last moment, end within the dispatcher's lease of 60 s.
_MOST_PARTS = 4
_RECONNECT_AFTER_S = (0.2, 1.0, 2.0, 5.0, 15.0)


class SmppChannel(Channel):
    """Sends each part in turn and reports receipts through `on_receipt`.

    The provider's id of a message is that of its last part; see `PartsLedger`. The reference that
    the parts share comes from the notice's id: when a message is tried again after its second
    part was refused, a phone joins both tries to the same message. A receipt is acknowledged
    after `on_receipt` returned; when that raises, the SMSC is asked to bring it again.
    """

    def __init__(
        self,
        host: str,
        port: int,
        system_id: str,
        password: str,
        sender: str,
        on_receipt: Callable[[Receipt], Awaitable[None]],
        *,
        provider: str = "smpp",
        answer_timeout_s: float = 10.0,
        link_timeout_s: float = 3.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises ValueError when the SMSC could never take these (a password above 8 letters)."""
        BindTransceiver(system_id=system_id, password=password).pdu()
        self._source = _source(sender)
        self._address = (host, port, system_id, password)
        self._on_receipt = on_receipt
        self._provider = provider
        self._answer_timeout_s = answer_timeout_s
        self._link_timeout_s = link_timeout_s
        self._now = now
        self._parts = PartsLedger()
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
        whole = Whole(len(segments.parts))
        message_id = ""

        def accepted(part_id: str) -> None:
            nonlocal message_id
            message_id = part_id
            if segments.concatenated:
                self._parts.accepted(whole, part_id)

        for part in segments.parts:
            submit = self._submit_sm(destination, part, segments)
            try:
                status = await session.submit(submit, accepted, self._answer_timeout_s)
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
        return Accepted(self._provider, message_id)

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
                    *self._address, self._on_deliver, timeout_s=self._link_timeout_s
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
            receipt = read_receipt(body)
        except ValueError as error:
            log.warning("sms.receipt_unreadable", error=str(error))
            return SmppCommandStatus.ESME_RX_P_APPN
        if receipt is None:
            log.info("sms.reply_ignored")
            return SmppCommandStatus.ESME_ROK
        if receipt.state is None:
            return SmppCommandStatus.ESME_ROK
        decided = self._parts.take(receipt.message_id, receipt.state)
        if decided is None:
            return SmppCommandStatus.ESME_ROK
        try:
            # Our own clock: an SMSC writes its local time and does not say which.
            await self._on_receipt(Receipt(self._provider, *decided, self._now()))
        except Exception as error:  # noqa: BLE001  whatever it was, the SMSC keeps the receipt
            log.warning("sms.receipt_not_kept", error=repr(error))
            return SmppCommandStatus.ESME_RX_T_APPN
        return SmppCommandStatus.ESME_ROK


def _destination(to: str) -> PhoneNumber:
    try:
        number = phonenumbers.parse(to, None)
    except phonenumbers.NumberParseException:
        raise PermanentRefusal("sms.not_a_number") from None
    if phonenumbers.number_type(number) != phonenumbers.PhoneNumberType.MOBILE:
        raise PermanentRefusal("sms.not_mobile")
    if number.extension:
        raise PermanentRefusal("sms.has_extension")
    digits = f"{number.country_code}{phonenumbers.national_significant_number(number)}"
    return PhoneNumber(digits, TON.INTERNATIONAL, NPI.ISDN)


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
