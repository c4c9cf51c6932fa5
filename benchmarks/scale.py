"""How much is measured: the full run, or a quick one that only shows that everything works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """`records` go through each fast contender of forwarding, `slow_records` through a slow one.

    `latency_s` is how long one rate is held, `intake_s` how long submissions are counted, `rows`
    how many a relay drains, `kills` how often each thing is killed, `search_turns` how often each
    question is asked, `forms` how many are made.
    """

    quick: bool
    turns: int
    records: int
    slow_records: int
    latency_turns: int
    latency_s: float
    intake_turns: int
    intake_s: float
    rows: int
    kills: int
    search_turns: int
    forms: int


FULL = Scale(
    quick=False,
    turns=3,
    records=20_000,
    slow_records=4_000,
    latency_turns=2,
    latency_s=15.0,
    intake_turns=3,
    intake_s=5.0,
    rows=20_000,
    kills=5,
    search_turns=20,
    forms=60,
)
QUICK = Scale(
    quick=True,
    turns=1,
    records=3_000,
    slow_records=1_000,
    latency_turns=1,
    latency_s=3.0,
    intake_turns=1,
    intake_s=2.0,
    rows=2_000,
    kills=1,
    search_turns=2,
    forms=10,
)
