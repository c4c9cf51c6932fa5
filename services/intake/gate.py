"""Who sees a case: whoever has its number and its password. Who guesses waits, then is refused.

The 80 bits of a password are what protects a case; the limits keep load away.
"""

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
_MOST_LINKS, _MOST_FROM_HERE, _LINKS_REST = 3, 30, timedelta(hours=1)


class TooOftenError(Exception):
    """Too many wrong passwords, of this case or from there."""


class Guesses(Protocol):
    async def put(self, subject: bytes) -> None: ...
    async def count(self, subject: bytes, since: datetime, most: int) -> int:
        """How often since then; counted up to `most`."""


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
        known = 0
        for kind, subject, most, rest in (
            ("guess from", address, _MOST_OF_AN_ADDRESS, _ADDRESS_RESTS),
            ("guess", number, _MOST_OF_A_CASE, _CASE_RESTS),
        ):
            subject_hash, since = keyed(self.secret, kind, subject), self.now() - rest
            if await self.guesses.count(subject_hash, since, most) >= most:
                # Not counted any more: whoever waits is let off, and a flood fills no table.
                raise TooOftenError
            await self.guesses.put(subject_hash)
            # Counted again: of many at once no more than these are let wait.
            known = await self.guesses.count(subject_hash, since, most + 1)
            if known > most:
                raise TooOftenError
        await asyncio.sleep(_WRONG_COSTS_S * known)
        return None


@dataclass(frozen=True, slots=True)
class LinkLimit:
    """How many links are sent in an hour: to one address, and asked for from one network."""

    guesses: Guesses
    secret: bytes
    now: Callable[[], datetime]

    async def may(self, to: str, address: str) -> bool:
        since = self.now() - _LINKS_REST
        for subject, most in self._subjects(to, address):
            if await self.guesses.count(subject, since, most) >= most:
                return False
        return True

    async def sent(self, to: str, address: str) -> None:
        for subject, _ in self._subjects(to, address):
            await self.guesses.put(subject)

    def _subjects(self, to: str, address: str) -> list[tuple[bytes, int]]:
        return [
            (keyed(self.secret, "link to", to.lower()), _MOST_LINKS),
            (keyed(self.secret, "link from", address), _MOST_FROM_HERE),
        ]
