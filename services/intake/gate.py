"""Who sees a case: whoever has its number and its password. Who guesses waits, then is refused."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.intake import domain
from services.intake.domain import keyed
from services.intake.handlers import Applications

# Wrong passwords: of one case in a quarter of an hour, from one address in an hour.
_MOST_OF_A_CASE, _CASE_RESTS = 5, timedelta(minutes=15)
_MOST_OF_AN_ADDRESS, _ADDRESS_RESTS = 30, timedelta(hours=1)
_WRONG_COSTS_S = 0.7


class TooOftenError(Exception):
    """Too many wrong passwords, of this case or from there."""


class Guesses(Protocol):
    async def put(self, subject: bytes) -> None: ...
    async def count(self, subject: bytes, since: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """The pages' and the API's: what is guessed at one counts at the other."""

    applications: Applications
    guesses: Guesses
    secret: bytes
    now: Callable[[], datetime]

    async def enter(
        self, number: str, password: str, address: str
    ) -> tuple[UUID, str, datetime] | None:
        """Id, service and receipt of the case. `address` is where the request comes from.

        None when there is no such case or the password is wrong: the time that it takes is the
        same. Raises TooOftenError.
        """
        found = await self.applications.by_number(number)
        # Compared also when there is no such case, so that both take as long.
        fits = domain.password_fits(self.secret, found[0] if found else UUID(int=0), password)
        if found is not None and fits:
            # Whoever has the password comes in, however many others guess.
            return found
        guesses = 0
        for subject, most, rest in (
            (keyed(self.secret, "guess", number), _MOST_OF_A_CASE, _CASE_RESTS),
            (keyed(self.secret, "guess from", address), _MOST_OF_AN_ADDRESS, _ADDRESS_RESTS),
        ):
            # Counted first: of many at once none is looked at too much.
            await self.guesses.put(subject)
            known = await self.guesses.count(subject, self.now() - rest)
            if known > most:
                raise TooOftenError
            guesses = max(guesses, known - 1)
        await asyncio.sleep(_WRONG_COSTS_S * (1 + guesses))
        return None
