"""Data quality, compared with counts over the raw rows of each interval."""

import random
from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from flows.core.drift.levels import Cleared, Position
from flows.core.drift.quality import RATE, Column, DataQuality, Finding, QualityAlarm, QualityPolicy
from flows.core.models.snapshots import Sealer

HOUR, MINUTE = 3_600_000, 60_000
DAY = 24 * HOUR
POLICY = QualityPolicy(interval=HOUR, warm_up=10)
Rows = list[tuple[int, tuple[Any, ...]]]  # each with its time (ms)


def rows(hours: int, a_hour: int = 100, seed: int = 0) -> Rows:
    """A number from 0 to 1 and one of three categories, at equal distances."""
    rng = random.Random(seed)
    count = hours * a_hour
    return [(index * HOUR // a_hour, (rng.random(), rng.choice("abc"))) for index in range(count)]


def broken(good: Rows, hour: int, share: float, number: Any, category: Any) -> Rows:
    """From `hour` on this share of the rows has other values; None leaves them as they are."""
    rng = random.Random(1)
    out = []
    for time, (x, c) in good:
        hit = time >= hour * HOUR and rng.random() < share
        out.append((time, (number(x), category(c)) if hit else (x, c)))
    return out


def same(value: Any) -> Any:
    return value


def to(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


null = to(None)


def watch(policy: QualityPolicy = POLICY, **columns: Column) -> DataQuality:
    return DataQuality(columns or {"x": Column("number"), "c": Column("category")}, policy)


def run(detector: DataQuality, data: Rows, start: int = 0, batch: int = 10**9) -> list[QualityAlarm]:
    return [each for each in run_whole(detector, data, start, batch) if isinstance(each, QualityAlarm)]


def run_whole(
    detector: DataQuality, data: Rows, start: int = 0, batch: int = 10**9
) -> list[QualityAlarm | Cleared]:
    found = []
    for first in range(0, len(data), batch):
        part = data[first : first + batch]
        places = [Position("predictions", 0, start + first + index) for index in range(len(part))]
        found += detector.update([row for _, row in part], [time for time, _ in part], places)
    return found


@pytest.mark.parametrize(
    ("number", "category", "column", "fault", "is_bad"),
    [
        (null, same, "x", "null", lambda row: row[0] is None),
        (to(float("nan")), same, "x", "null", lambda row: row[0] != row[0]),
        (lambda x: x + 5, same, "x", "range", lambda row: row[0] > 1),
        (to(-1.0), same, "x", "range", lambda row: row[0] < 0),
        (same, null, "c", "null", lambda row: row[1] is None),
        (same, to("new"), "c", "unseen", lambda row: row[1] == "new"),
    ],
)
@pytest.mark.parametrize(("share", "level"), [(0.02, None), (0.12, "warning"), (0.5, "alarm")])
def test_a_share_of_bad_values_that_rises_is_a_finding(number, category, column, fault, is_bad, share, level):
    data = broken(rows(21, a_hour=400), 20, share, number, category)
    alarms = run(watch(), [*data, (21 * HOUR, (0.5, "a"))])
    bad = [is_bad(row) for time, row in data if time >= 20 * HOUR]
    expected = [Finding(column, fault, level, 0.0, sum(bad) / len(bad))]
    assert [list(alarm.findings) for alarm in alarms] == ([expected] if level else [])
    for alarm in alarms:
        assert (alarm.level, alarm.width, alarm.since) == (level, 400, 20 * HOUR)
        assert alarm.position.offset == 21 * 400  # the record that ended the interval


def test_a_share_that_was_always_so_is_no_finding():
    data = broken(rows(40), 0, 0.4, null, null)
    assert run(watch(), data) == []


def test_a_declared_range_holds_also_for_what_the_warm_up_saw():
    data = broken(rows(31), 20, 0.5, to(1.5), same)
    last = (31 * HOUR, (0.5,))
    columns = {"x": Column("number", low=0.0, high=2.0)}
    assert run(watch(**columns), [*((time, row[:1]) for time, row in data), last]) == []
    columns = {"x": Column("number", low=0.0, high=1.2)}
    (alarm, *_) = run(watch(**columns), [*((time, row[:1]) for time, row in data), last])
    assert (alarm.findings[0].fault, alarm.since) == ("range", 20 * HOUR)


@pytest.mark.parametrize(
    ("a_hour", "level"),
    [(90, None), (180, None), (220, "warning"), (45, "warning"), (600, "alarm"), (15, "alarm")],
)
def test_many_more_or_fewer_events_than_usual_are_a_finding(a_hour, level):
    later = [(time + 20 * HOUR, row) for time, row in rows(1, a_hour, seed=2)]
    alarms = run(watch(), [*rows(20, 100), *later, (21 * HOUR, (0.5, "a"))])
    expected = [(Finding(RATE, "rate", level, 100.0, float(a_hour)),)] if level else []
    assert [alarm.findings for alarm in alarms] == expected


def test_events_that_stop_are_told_when_the_next_one_comes():
    later = [(time + 50 * HOUR, row) for time, row in rows(3)]
    (alarm,) = run(watch(POLICY._replace(cool_down=DAY)), [*rows(20), *later])
    assert alarm.findings == (Finding(RATE, "rate", "alarm", 100.0, 0.0),)
    assert (alarm.since, alarm.width, alarm.position.offset) == (20 * HOUR, 0, 2000)


def test_after_a_gap_of_any_length_only_one_period_is_looked_at():
    detector = watch(POLICY._replace(period=DAY))
    assert len(run(detector, [*rows(48), (10**6 * HOUR, (0.5, "a"))])) <= 25


@pytest.mark.parametrize("period", [None, DAY])
def test_with_a_period_the_rate_is_compared_with_the_same_part_of_it(period):
    def a_hour(hour: int) -> int:
        return 400 if hour % 24 < 12 else 40

    data = [(time + hour * HOUR, row) for hour in range(96) for time, row in rows(1, a_hour(hour), hour)]
    rates = [f for alarm in run(watch(POLICY._replace(period=period)), data) for f in alarm.findings]
    assert bool(rates) == (period is None)


def test_in_the_warm_up_nothing_is_a_finding():
    data = [*broken(rows(30), 9, 0.5, null, same), (30 * HOUR, (0.5, "a"))]
    assert run(watch(POLICY._replace(warm_up=31)), data) == []
    (first, *_) = run(watch(POLICY._replace(warm_up=9)), data)
    assert first.since == 9 * HOUR


def test_after_an_alarm_there_is_none_until_the_cool_down_is_over_in_event_time():
    data = [*broken(rows(40), 20, 0.5, null, same), (40 * HOUR, (0.5, "a"))]
    policy = POLICY._replace(warm_up=20)
    assert [alarm.since // HOUR for alarm in run(watch(policy), data)] == list(range(20, 40))
    seldom = run(watch(policy._replace(cool_down=7 * HOUR)), data)
    assert [alarm.since // HOUR for alarm in seldom] == [20, 27, 34]


def test_too_few_rows_are_not_judged():
    data = broken(rows(40, a_hour=20), 20, 1.0, null, null)
    assert run(watch(), data) == []


def test_alarms_come_before_warnings_and_the_larger_rise_first():
    rng = random.Random(3)
    data: Rows = []
    for time, (x, c) in rows(21, a_hour=1000):
        late, lot = time >= 20 * HOUR, rng.random()
        x = None if late and lot < 0.1 else x + 9 if late and lot < 0.6 else x
        data.append((time, (x, "new" if late and rng.random() < 0.3 else c)))
    (alarm,) = run(watch(), [*data, (21 * HOUR, (0.5, "a"))])
    assert [(f.column, f.fault, f.level) for f in alarm.findings] == [
        ("x", "range", "alarm"),
        ("c", "unseen", "alarm"),
        ("x", "null", "warning"),
    ]


@pytest.mark.parametrize("batch", [1, 17, 1000])
def test_how_rows_are_cut_into_batches_changes_nothing(batch):
    data = broken(rows(40), 20, 0.5, null, to("new"))
    data.insert(2500, (3 * HOUR, (0.5, "a")))  # late
    whole = run(watch(), data)
    assert whole
    assert run(watch(), data, batch=batch) == whole


@pytest.mark.parametrize("stop", [555, 2222])
def test_a_detector_that_was_sealed_and_restored_goes_on_as_if_never_stopped(stop):
    data, sealer = broken(rows(40), 20, 0.5, null, to("new")), Sealer(b"s" * 32)
    detector = watch()
    before = run(detector, data[:stop])
    restored = sealer.open_state(sealer.seal_state(detector))
    assert before + run(restored, data[stop:], start=stop) == run(watch(), data) != []


def test_a_column_of_ever_new_categories_has_no_unseen_ones_and_a_bounded_state():
    data = [(index * HOUR // 1000, (f"order-{index}",)) for index in range(30_000)]
    detector = watch(c=Column("category"))
    assert run(detector, data) == []
    assert len(Sealer(b"s" * 32).seal_state(detector)) < 30_000


def test_bad_data_are_over_with_the_first_judged_interval_without_a_finding():
    data = [(time, (None, c) if 20 * HOUR <= time < 23 * HOUR else (x, c)) for time, (x, c) in rows(26)]
    few = [(time, row) for time, row in data if not 23 * HOUR <= time < 24 * HOUR - 50 * MINUTE]
    quiet = [row for row in few if not 23 * HOUR <= row[0] < 24 * HOUR or row[0] % (5 * MINUTE) == 0]
    found = run_whole(watch(POLICY._replace(cool_down=DAY)), quiet)
    ended = next(index for index, (time, _) in enumerate(quiet) if time >= 25 * HOUR)
    assert [type(each) for each in found] == [QualityAlarm, Cleared]
    assert found[1] == Cleared(Position("predictions", 0, ended))


def test_with_a_period_a_share_is_compared_with_that_of_the_same_part_of_it():
    def nightly(time: int) -> bool:
        return time // HOUR % 24 == 3

    data = [(time, (None if nightly(time) else x, c)) for time, (x, c) in rows(24 * 5)]
    policy = POLICY._replace(warm_up=48, period=DAY)
    assert run(watch(policy), data) == []
    assert [alarm.since // HOUR % 24 for alarm in run(watch(policy._replace(period=None)), data)] == [3, 3, 3]
    broken_by_day = [(t, (None if t // HOUR == 80 else x, c)) for t, (x, c) in data]
    (alarm,) = run(watch(policy), broken_by_day)
    assert alarm.findings == (Finding("x", "null", "alarm", 0.0, 1.0),)


def test_until_the_windows_of_a_column_are_full_nothing_of_it_is_learned_or_judged():
    def filling(fills_for: int) -> Rows:
        return [(t, (min(t / HOUR / fills_for, 1.0) * 100 + x, c)) for t, (x, c) in rows(72)]

    columns = {"x": Column("number"), "c": Column("category")}
    assert {f.fault for alarm in run(watch(**columns), filling(24)) for f in alarm.findings} == {"range"}
    columns["x"] = Column("number", fill=24 * HOUR)
    assert run(watch(**columns), filling(24)) == []
    broken_early = [(t, (None if t < 20 * HOUR else x, c)) for t, (x, c) in filling(24)]
    assert run(watch(**columns), broken_early) == []
    broken_late = broken(filling(24), 34, 0.5, lambda x: x + 9, same)
    (alarm, *_) = run(watch(**columns), broken_late)
    assert (alarm.findings[0].fault, alarm.since) == ("range", 34 * HOUR)


def test_the_other_columns_are_judged_while_one_still_fills():
    columns = {"x": Column("number", fill=500 * HOUR), "c": Column("category")}
    (alarm, *_) = run(watch(**columns), broken(rows(30), 20, 0.5, null, to("new")))
    assert [(f.column, f.fault) for f in alarm.findings] == [("c", "unseen")]
    assert alarm.since == 20 * HOUR


def test_a_column_that_never_fills_is_not_watched():
    columns = {"x": Column("number", fill=inf), "c": Column("category")}
    assert run(watch(**columns), broken(rows(30), 20, 0.5, lambda x: x + 9, same)) == []


def test_a_number_that_never_changed_has_no_range():
    data = [(t, (0.0 if t < 20 * HOUR else x, c)) for t, (x, c) in rows(40)]
    assert run(watch(), data) == []
    data = [(t, (x if t < 20 * HOUR else x + 1, c)) for t, (x, c) in rows(40)]
    assert run(watch(), data)[0].findings[0].fault == "range"


@pytest.mark.parametrize(
    ("number", "category", "again"),
    [
        (null, same, lambda x: x),
        (lambda x: x + 5, same, lambda x: x + 11),
        (same, to("new"), lambda x: x + 5),
    ],
)
def test_what_stays_bad_for_a_warm_up_becomes_usual_and_ends_the_alarm(number, category, again):
    data = broken(rows(60), 20, 0.5, number, category)
    found = run_whole(watch(POLICY._replace(cool_down=2 * HOUR)), data)
    assert [type(each) for each in found] == [QualityAlarm] * 5 + [Cleared]
    assert found[-1].position.offset == 31 * 100  # ten hours behind the first bad one
    later = [(t, (again(x) if t >= 50 * HOUR and x is not None else x, c)) for t, (x, c) in data]
    more = run(watch(POLICY._replace(cool_down=2 * HOUR)), later)[5:]
    assert bool(more) == (again(0.5) != 0.5)
    assert all(alarm.since >= 50 * HOUR for alarm in more)


def test_a_fault_that_comes_each_day_at_the_same_hour_becomes_usual_too():
    data = [(t, (None if t // HOUR % 24 == 3 and t >= 72 * HOUR else x, c)) for t, (x, c) in rows(24 * 12)]
    alarms = run(watch(POLICY._replace(warm_up=48, period=DAY)), data)
    assert [alarm.since // HOUR for alarm in alarms] == [75, 99]


def test_a_fault_that_was_mended_stays_a_fault():
    def bad(time: int) -> bool:
        return 20 * HOUR <= time < 23 * HOUR or time >= 40 * HOUR

    data = [(time, (-999.0 if bad(time) else x, c)) for time, (x, c) in rows(45)]
    assert [alarm.since // HOUR for alarm in run(watch(), data)] == [20, 21, 22, *range(40, 44)]


def test_a_share_that_rises_slowly_is_found():
    rng = random.Random(5)
    data = [(t, (None if rng.random() < t / HOUR / 1000 else x, c)) for t, (x, c) in rows(200, a_hour=400)]
    alarms = run(watch(POLICY._replace(cool_down=DAY)), data)
    assert {f.fault for alarm in alarms for f in alarm.findings} == {"null"}
    assert alarms[0].since < 80 * HOUR


@pytest.mark.parametrize("stop", [2150, 2999, 3200])
def test_a_detector_that_was_restored_while_it_learns_what_is_new_goes_on_as_if_never_stopped(stop):
    data, sealer = broken(rows(60), 20, 0.5, null, to("new")), Sealer(b"s" * 32)
    columns = {"x": Column("number", fill=5 * HOUR), "c": Column("category")}
    detector = watch(**columns)
    before = run_whole(detector, data[:stop])
    restored = sealer.open_state(sealer.seal_state(detector))
    straight = run_whole(watch(**columns), data)
    assert before + run_whole(restored, data[stop:], start=stop, batch=37) == straight
    assert [type(each) for each in straight].count(Cleared) == 1


@pytest.mark.parametrize(("share", "is_raised"), [(0.75, False), (1.0, True)])
def test_a_share_that_varies_much_from_day_to_day_must_rise_above_that(share, is_raised):
    """As the flights at 6 o'clock whose airport had no arrival in the last 3 hours, in January 2013."""
    days = [0.34, 0.47, 0.54, 0.33, 0.67, 0.37, 0.48, share]
    shares = [day if hour == 6 else 0.0 for day in days for hour in range(24)]
    data = [
        (t, (None if t % HOUR < HOUR * shares[t // HOUR] else x, c)) for t, (x, c) in rows(192, a_hour=75)
    ]
    alarms = run(watch(QualityPolicy(period=DAY)), data)
    assert [alarm.since // HOUR for alarm in alarms] == ([7 * 24 + 6] if is_raised else [])
