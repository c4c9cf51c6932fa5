"""Text messages through aiosmpplib's own client: no ledger, receipts counted and forgotten.

Input: a BareJob. Answer: seconds from the first submit to the last receipt.
"""

import asyncio
import json
import sys
import time

import uvloop
from aiosmpplib import ESME, AbstractHook, SubmitSm
from aiosmpplib.broker import SimpleBroker
from aiosmpplib.protocol import DeliverSm, SmppMessage, SubmitSmResp
from pydantic import BaseModel

from services.notifier.channels.segments import segment
from services.notifier.channels.sms import _destination, _source

_WINDOW = 128


class BareJob(BaseModel):
    """`messages` of `text` go to `port`; an SMSC wants the password of the account casebus."""

    port: int
    messages: int
    text: str
    password: str = ""


class _Receipts(AbstractHook):
    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.all_there = asyncio.Event()
        # More on the way than an SMSC takes are refused.
        self.window = asyncio.Semaphore(_WINDOW)

    async def sending(self, smpp_message: SmppMessage, pdu: bytes, client_id: str) -> None: ...

    async def received(self, smpp_message: SmppMessage | None, pdu: bytes, client_id: str) -> None:
        if isinstance(smpp_message, SubmitSmResp):
            self.window.release()
        if isinstance(smpp_message, DeliverSm):
            self._left -= 1
            if not self._left:
                self.all_there.set()

    async def send_error(self, smpp_message: SmppMessage, error: Exception, client_id: str) -> None:
        print(repr(error), file=sys.stderr)


async def main(job: BareJob) -> None:
    submits = []
    for number in range(job.messages):
        destination = _destination(f"+8869{10_000_000 + number}")
        segments = segment(job.text, number & 0xFFFF)
        for part in segments.parts:
            submit = SubmitSm(
                short_message="-",
                source=_source("1999"),
                destination=destination,
                esm_class=0b0100_0000 if segments.concatenated else 0,
                registered_delivery=1,
                encoding=segments.alphabet,
            )
            submit.set_encoded_message(part)
            submits.append(submit)
    receipts = _Receipts(len(submits))
    broker = SimpleBroker(maxsize=len(submits) + 1)
    client = ESME(
        "127.0.0.1",
        job.port,
        "casebus",
        job.password,
        hook=receipts,
        broker=broker,
        log_level="CRITICAL",
    )
    started = asyncio.create_task(client.start())
    began = time.perf_counter()
    for submit in submits:
        await receipts.window.acquire()
        await broker.enqueue(submit)
    await receipts.all_there.wait()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "parts": len(submits)}), flush=True)
    started.cancel()


if __name__ == "__main__":
    uvloop.run(main(BareJob.model_validate_json(sys.stdin.readline())))
