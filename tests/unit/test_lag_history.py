"""What is shown of several measurements, and dead letters counted."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from services.console.history import Measured, picture
from services.console.lag import Lag, RelayLag
from services.console.tally import Tally
from shared.contract.wire import Record
from shared.runtime.settings import Settings

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def lag(partition: int, committed: int, end: int, seconds: float | None, members: int = 1) -> Lag:
    return Lag(
        "router", "cases.events", partition, committed, end, end - committed, seconds, members
    )


def relay(position: str, rows: int, seconds: float, *, fits: bool = True) -> RelayLag:
    return RelayLag("intake", position, rows, seconds, 0, fits)


def before(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_group_shows_the_worst_state_all_its_records_and_the_greatest_age() -> None:
    measured: list[Measured] = [
        (before(n), [lag(0, 50, 50, 0.0), lag(1, 10, 90, 40.0)], []) for n in (40, 30, 20, 10, 0)
    ]

    seen = picture(measured)

    assert [one["state"] for one in seen.groups] == ["OK", "STALLED"]
    assert seen.totals == [
        {"group": "router", "state": "STALLED", "members": 1, "records": 80, "seconds": 40.0}
    ]


def test_a_group_with_a_partition_of_unknown_age_is_of_unknown_age() -> None:
    seen = picture([(NOW, [lag(0, 0, 5, 3.0), lag(1, 0, 5, None)], [])])

    assert seen.totals[0]["seconds"] is None


def test_a_relay_whose_position_moves_is_lagging_and_one_that_stands_is_stalled() -> None:
    times = (40, 30, 20, 10, 0)
    moving: list[Measured] = [(before(n), [], [relay(f"7:{100 - n}", 50, 40.0)]) for n in times]
    still: list[Measured] = [(before(n), [], [relay("7:1", 50, 40.0)]) for n in times]

    assert picture(moving).relays[0]["state"] == "LAGGING"
    assert picture(still).relays[0]["state"] == "STALLED"


def test_a_relay_whose_position_is_none_of_this_database_is_out_of_range_without_any_rows() -> None:
    measured: list[Measured] = [(before(n), [], [relay("7:1", 0, 0.0, fits=False)]) for n in (5, 0)]

    assert picture(measured).relays[0]["state"] == "OUT_OF_RANGE"
    assert picture(measured[:1]).relays[0]["state"] == "OUT_OF_RANGE"


def test_what_was_measured_long_ago_says_nothing_of_now() -> None:
    """The console was down in between: the router may have been anywhere."""
    measured: list[Measured] = [
        (before(3600), [lag(0, 90, 90, 0.0)], []),
        (NOW, [lag(0, 10, 90, 40.0)], []),
    ]

    assert picture(measured).groups[0]["state"] == "LAGGING"


def test_nothing_measured_is_nothing_to_show() -> None:
    assert picture([]).sampled_at is None


def letter(offset: int, group: str, topic: str, code: str = "event.unknown") -> Record:
    headers = {"dead_group": group, "dead_topic": topic, "dead_code": code}
    return Record(
        topic="cases.events.dead",
        partition=0,
        offset=offset,
        timestamp_ms=int(NOW.timestamp() * 1000) + offset,
        key=b"1",
        headers=tuple((name, value.encode()) for name, value in headers.items()),
        value=b"",
    )


def counted(*letters: Record, settled: Collection[str] = ()) -> list[tuple[str, str, int]]:
    tally = Tally(Settings(kafka="none:9092"), [], ["notifier-ledger"])
    for one in letters:
        tally.add(one)
    return [(one.group, one.code, one.letters) for one in tally.counted(settled)]


def test_the_letters_of_the_router_are_counted_by_code() -> None:
    letters = [letter(0, "router", "cases.events"), letter(1, "router", "cases.events", "x.y")]

    assert counted(*letters, letter(2, "router", "cases.events")) == [
        ("router", "event.unknown", 2),
        ("router", "x.y", 1),
    ]


def test_a_letter_that_is_read_twice_is_counted_once() -> None:
    assert counted(letter(0, "router", "cases.events"), letter(0, "router", "cases.events")) == [
        ("router", "event.unknown", 1)
    ]


def test_a_letter_about_which_nothing_is_left_to_do_is_not_counted() -> None:
    letters = [letter(0, "router", "cases.events"), letter(1, "router", "cases.events")]

    assert counted(*letters, settled={"cases.events.dead:0:1"}) == [("router", "event.unknown", 1)]


def test_what_is_parked_is_not_counted_again_as_a_letter_but_a_refused_command_is() -> None:
    assert counted(
        letter(0, "notifier-ledger", "cases.events"),
        letter(1, "notifier-ledger", "agency.IPC.updates"),
    ) == [("notifier-ledger", "event.unknown", 1)]
