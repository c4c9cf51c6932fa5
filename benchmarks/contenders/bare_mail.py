"""Mails through aiosmtplib alone, four links: no ledger, no vault, nothing written.

Input: a BareJob. Answer: seconds from the first mail to the last answer.
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from itertools import count
from uuid import uuid4

import uvloop
from aiosmtplib import SMTP

from benchmarks.contenders.bare_sms import BareJob
from services.notifier.channels import Outgoing
from services.notifier.channels.mail import _address, compose

_LINKS = 4


async def main(job: BareJob) -> None:
    sender = _address("noreply@casebus.example")
    numbers = count()

    async def link() -> None:
        async with SMTP(hostname="127.0.0.1", port=job.port) as client:
            while (number := next(numbers)) < job.messages:
                to = f"u{number}@mail.example"
                message = Outgoing(uuid4(), to, "Case", job.text, "zh-TW")
                mail = compose(message, sender, datetime.now(UTC))
                await client.mail(sender.addr_spec)
                await client.rcpt(to)
                await client.data(mail)

    began = time.perf_counter()
    await asyncio.gather(*(link() for _ in range(_LINKS)))
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(BareJob.model_validate_json(sys.stdin.readline())))
