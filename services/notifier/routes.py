"""Which provider carries a message: the healthy ones by weight, another after a refusal.

Each has a breaker, which five failures in a row open, and a rate that all dispatchers share.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from services.notifier.channels.port import (
    Accepted,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Provider,
    TemporaryRefusal,
)

log = structlog.get_logger()
FAILURES_TO_OPEN = 5
_OPEN_S = (5.0, 10.0, 20.0, 40.0, 60.0)
# Of the lease of 60 s a send takes 45 at most: after that much of it nobody else is asked.
_ANOTHER_WITHIN_S = 10.0
# A refusal of the recipient says nothing of who carries: a mailbox that is busy or greylists.
_OF_THE_RECIPIENT = frozenset({"mail.refused_450", "mail.refused_451", "mail.refused_452"})

TakeTokens = Callable[[str, float, int], Awaitable[int]]
"""(provider, rate a second, wanted) to how many messages it may get now, of all dispatchers."""


@dataclass(slots=True)
class Breaker:
    """Closed; open after five failures in a row; then one message at a time finds out.

    Times are seconds of one monotonic clock.
    """

    failures: int = 0
    opened: int = 0
    until_s: float = 0.0
    probing: bool = False

    def allows(self, now_s: float) -> bool:
        """Whether one more message may go."""
        if self.failures < FAILURES_TO_OPEN:
            return True
        return now_s >= self.until_s and not self.probing

    @property
    def closed(self) -> bool:
        return self.failures < FAILURES_TO_OPEN

    def began(self) -> None:
        if not self.closed:
            self.probing = True

    def succeeded(self) -> None:
        self.failures, self.opened, self.probing = 0, 0, False

    def failed(self, now_s: float) -> None:
        was_closed = self.closed
        self.failures += 1
        if self.closed or not (was_closed or self.probing):
            return
        self.until_s = now_s + _OPEN_S[min(self.opened, len(_OPEN_S) - 1)]
        self.opened += 1
        self.probing = False

    def gave_up(self) -> None:
        """The message ended without a word of the provider's."""
        self.probing = False


@dataclass(slots=True)
class Route:
    """A provider and what is known of it. `rate_per_s` counts parts; None is without limit."""

    provider: Provider
    weight: float = 1.0
    rate_per_s: float | None = None
    breaker: Breaker = field(default_factory=Breaker)
    tokens: float = 0.0
    receipt_p95_s: float = 0.0

    @property
    def pull(self) -> float:
        """How much of the messages it gets: by its weight, and less when receipts take long."""
        return self.weight / max(1.0, self.receipt_p95_s)

    def usable(self, now_s: float) -> bool:
        return self.breaker.allows(now_s) and (self.rate_per_s is None or self.tokens >= 1)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider was asked. `outcome`: accepted, refused (for now), rejected, unknown."""

    provider: str
    began_at: datetime
    ended_at: datetime
    outcome: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """All attempts of one try; `accepted` is what the last of them came to, if it was taken."""

    attempts: tuple[Attempt, ...]
    accepted: Accepted | None = None


class Routes:
    """The providers of one channel; at most `places` messages are under way at once."""

    def __init__(
        self,
        routes: Sequence[Route],
        places: int,
        take_tokens: TakeTokens,
        clock_s: Callable[[], float],
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self.routes = tuple(routes)
        self._places = places
        self._take_tokens = take_tokens
        self._clock_s = clock_s
        self._now = now
        self._random = random

    async def room(self, under_way: int) -> int:
        """How many more messages may be claimed now, while `under_way` are not finished."""
        free = self._places - under_way
        if free <= 0:
            return 0
        found = 0
        for route in self.routes:
            if not route.breaker.allows(self._clock_s()):
                continue
            most = free if route.breaker.closed else 1
            if route.rate_per_s is not None:
                wanted = most + under_way - int(route.tokens)
                if wanted > 0:
                    name = route.provider.name
                    route.tokens += await self._take_tokens(name, route.rate_per_s, wanted)
                most = min(most, max(0, int(route.tokens) - under_way))
            found += most
        return min(free, found)

    async def send(self, message: Outgoing, segments: int) -> Sent:
        """Ask one provider, and after a definite refusal the others. Never raises a refusal."""
        began_s = self._clock_s()
        attempts: list[Attempt] = []
        asked: list[Route] = []
        while True:
            route = self._choose(asked)
            if route is None or (attempts and self._clock_s() - began_s > _ANOTHER_WITHIN_S):
                return Sent(tuple(attempts))
            asked.append(route)
            attempt, accepted = await self._ask(route, message, segments)
            attempts.append(attempt)
            if attempt.outcome != "refused":
                return Sent(tuple(attempts), accepted)

    def _choose(self, asked: Sequence[Route]) -> Route | None:
        now_s = self._clock_s()
        able = [one for one in self.routes if one not in asked and one.usable(now_s)]
        # Who is on trial gets its one message first: else it would never be found well again.
        for one in able:
            if not one.breaker.closed:
                return one
        at = self._random() * sum(one.pull for one in able)
        for one in able:
            at -= one.pull
            if at < 0:
                return one
        return able[-1] if able else None

    async def _ask(
        self, route: Route, message: Outgoing, segments: int
    ) -> tuple[Attempt, Accepted | None]:
        provider, breaker = route.provider, route.breaker
        breaker.began()
        if route.rate_per_s is not None:
            route.tokens -= max(1, segments)
        began_at = self._now()
        outcome, code, accepted = "accepted", "", None
        try:
            accepted = await provider.send(message)
        except TemporaryRefusal as error:
            outcome, code = "refused", error.code
        except PermanentRefusal as error:
            outcome, code = "rejected", error.code
        except OutcomeUnknown as error:
            outcome, code = "unknown", error.code
        except Exception as error:  # noqa: BLE001  the boundary: it may have gone out
            log.error("provider.failed", provider=provider.name, error=type(error).__name__)
            outcome, code = "unknown", "provider.failed"
        except BaseException:
            breaker.gave_up()
            raise
        opened = breaker.opened
        if outcome in ("accepted", "rejected") or code in _OF_THE_RECIPIENT:
            breaker.succeeded()
        else:
            breaker.failed(self._clock_s())
        if breaker.opened > opened:
            log.warning("provider.breaker_opened", provider=provider.name, code=code)
        return Attempt(provider.name, began_at, self._now(), outcome, code), accepted
