"""Feature drift, compared with scipy on the raw windows and on streams with known drift."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from river.drift import ADWIN
from scipy import stats
from scipy.signal import lfilter

from flows.core.drift.columns import OTHER, number_matrix
from flows.core.drift.features import KEPT, FeatureAlarm, FeatureDrift, FeaturePolicy
from flows.core.drift.levels import Cleared, Position
from flows.core.drift.statistics import rows_per_independent_row
from flows.core.models.snapshots import Sealer

MINUTE, DAY = 60_000, 86_400_000
POLICY = FeaturePolicy(reference=2000, window=1000)
Values = NDArray[np.float64]


def ar(rng: np.random.Generator, count: int, phi: float = 0.9) -> Values:
    """AR(1) with a variance of 1."""
    noise = rng.normal(size=count + 200) * np.sqrt(1 - phi**2)
    values: Values = lfilter([1.0], [1.0, -phi], noise)
    return values[200:]


def rise(count: int, at: int, by: float) -> Values:
    return np.where(np.arange(count) >= at, by, 0.0)


def numbers(*columns: Values) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


def run(
    detector: FeatureDrift, rows: Sequence[Sequence[Any]], start: int = 0, batch: int = 10**9
) -> list[FeatureAlarm]:
    return [each for each in run_whole(detector, rows, start, batch) if isinstance(each, FeatureAlarm)]


def run_whole(
    detector: FeatureDrift, rows: Sequence[Sequence[Any]], start: int = 0, batch: int = 10**9
) -> list[FeatureAlarm | Cleared]:
    found = []
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        indices = range(start + first, start + first + len(part))
        places = [Position("predictions", 0, index) for index in indices]
        found += detector.update(part, [index * MINUTE for index in indices], places)
    return found


def watch(
    *kinds: str,
    policy: FeaturePolicy = POLICY,
    slices: Sequence[str] = (),
    fills: Sequence[float] = (),
) -> FeatureDrift:
    columns: dict[str, Any] = {f"{kind}{index}": kind for index, kind in enumerate(kinds)}
    return FeatureDrift(columns, policy, slices, dict(zip(columns, fills, strict=False)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("draw", ["normal", "logistic"])
def test_a_number_that_moved_has_the_statistics_of_the_raw_windows(seed, draw):
    values = getattr(np.random.default_rng(seed), draw)(size=3000) + rise(3000, 2000, 0.8)
    (alarm,) = run(watch("number"), numbers(values))
    (moved,) = alarm.moved
    reference, window = values[:2000], values[2000:]
    assert moved.statistic == pytest.approx(stats.ks_2samp(reference, window).statistic, abs=0.02)
    assert moved.p_value >= stats.ks_2samp(reference, window).pvalue  # neighbours may tell less, never more
    deciles = np.quantile(reference, np.arange(1, 10) / 10)
    before, after = (np.bincount(np.searchsorted(deciles, v), minlength=10) for v in (reference, window))
    assert moved.psi == pytest.approx(symmetric_entropy(after / 1000, before / 2000), rel=0.1)
    assert moved.before == pytest.approx(reference.mean())
    assert moved.after == pytest.approx(window.mean())
    assert (alarm.width, alarm.since) == (1000, 2000 * MINUTE)
    assert alarm.position == Position("predictions", 0, 2999)


@pytest.mark.parametrize("seed", range(5))
def test_a_category_that_moved_has_the_statistics_of_the_raw_windows(seed):
    rng = np.random.default_rng(seed)
    reference = rng.choice(list("abcd"), 2000, p=[0.4, 0.3, 0.2, 0.1]).tolist()
    window = rng.choice(list("abcd"), 1000, p=[0.1, 0.3, 0.2, 0.4]).tolist()
    (alarm,) = run(watch("category"), [(value,) for value in reference + window])
    (moved,) = alarm.moved
    before, after = (np.array([Counter(part)[name] for name in "abcd"]) for part in (reference, window))
    assert moved.psi == pytest.approx(symmetric_entropy(after / 1000, before / 2000))
    raw = stats.chi2_contingency([before, after], correction=False).statistic
    assert raw / 2 < moved.statistic <= raw * (1 + 1e-9)  # over how much alike neighbours look
    most = int(np.abs(after / 1000 - before / 2000).argmax())
    assert (moved.category, moved.before, moved.after) == (
        "abcd"[most],
        before[most] / 2000,
        after[most] / 1000,
    )


def test_a_column_without_values_in_a_window_is_not_judged_and_not_named():
    rng = np.random.default_rng(1)
    known, fades = rng.normal(size=3000).tolist(), rng.normal(size=2000).tolist()
    detector = watch("number", "number", "category")
    rows = [
        *zip(known[:2000], fades, ["a", "b"] * 1000, strict=True),
        *((x, None, None) for x in known[2000:]),
    ]
    assert run(detector, rows) == []
    assert [moved.column for moved in detector.furthest] == ["number0"]
    psi = detector.compared.psi
    assert psi["number0"] < 0.1
    assert (psi["number1"], psi["category2"]) == (None, None)


def symmetric_entropy(first: Values, second: Values) -> float:
    return float(stats.entropy(first, second) + stats.entropy(second, first))


@pytest.mark.parametrize("seed", range(4))
def test_a_stationary_stream_raises_nothing_however_alike_neighbours_are(seed):
    values = ar(np.random.default_rng(seed), 14_096)
    assert run(watch("number", policy=FeaturePolicy()), numbers(values)) == []
    adwin, found = ADWIN(), 0
    for value in values.tolist():
        adwin.update(value)
        found += adwin.drift_detected
    assert found > 40  # which is not so easy


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_how_many_neighbours_tell_as_much_as_one_is_about_what_theory_says(phi):
    nowhere = np.zeros(KEPT, dtype=np.int64)
    found = [
        rows_per_independent_row(ar(np.random.default_rng(seed), KEPT, phi), nowhere) for seed in range(20)
    ]
    theory = (1 + phi) / (1 - phi)
    assert 0.8 * theory <= float(np.median(found)) <= 1.8 * theory


def test_a_column_too_slow_for_the_reference_is_not_judged():
    for seed in range(5):
        walk = np.cumsum(np.random.default_rng(seed).normal(size=8000))
        assert run(watch("number"), numbers(walk)) == []


@pytest.mark.parametrize("seed", range(3))
def test_of_many_columns_the_one_that_moved_is_named_and_no_other(seed):
    rng = np.random.default_rng(seed)
    columns = [ar(rng, 8000, 0.5) for _ in range(20)]
    columns[7] = columns[7] + rise(8000, 5000, 1.0)
    alarms = run(watch(*["number"] * 20), numbers(*columns))
    assert [[moved.column for moved in alarm.moved] for alarm in alarms] == [["number7"]]


def test_columns_that_moved_are_named_by_how_far_the_furthest_first():
    rng = np.random.default_rng(1)
    columns = [rng.normal(size=3000) + rise(3000, 2000, by) for by in (0.6, 1.5, 1.0)]
    (alarm,) = run(watch("number", "number", "number"), numbers(*columns))
    assert [moved.column for moved in alarm.moved] == ["number1", "number2", "number0"]


@pytest.mark.parametrize(("by", "levels"), [(0.1, []), (0.4, ["warning"]), (1.0, ["alarm"])])
def test_a_change_must_be_large_and_not_only_significant(by, levels):
    values = np.random.default_rng(2).normal(size=9000) + rise(9000, 4000, by)
    alarms = run(watch("number", policy=FeaturePolicy(reference=4000, window=5000)), numbers(values))
    assert stats.ks_2samp(values[:4000], values[4000:]).pvalue < 1e-3
    assert [alarm.level for alarm in alarms] == levels


def wave(count: int) -> Values:
    return 3.0 * np.sin(2 * np.pi * np.arange(count) * MINUTE / DAY)


@pytest.mark.parametrize("seed", range(2))
def test_with_a_period_the_season_is_no_drift_and_what_comes_on_top_is(seed):
    policy = FeaturePolicy(reference=2880, window=400, period=DAY)
    values = wave(14_000) + ar(np.random.default_rng(seed), 14_000, 0.5)
    assert run(watch("number", policy=policy), numbers(values)) == []
    alarms = run(watch("number", policy=policy), numbers(values + rise(14_000, 9000, 1.5)))
    assert 9000 <= alarms[0].position.offset < 9800


def test_a_season_of_categories_is_no_drift_either():
    rng = np.random.default_rng(3)
    night = np.arange(12_000) % 1440 < 480
    names = np.where(rng.random(12_000) < np.where(night, 0.8, 0.1), "taxi", "bus").tolist()
    policy = FeaturePolicy(reference=2880, window=400, period=DAY)
    assert run(watch("category", policy=policy), [(name,) for name in names]) == []
    alarms = run(watch("category", policy=policy), [(name,) for name in [*names[:9000], *["taxi"] * 3000]])
    assert 9000 <= alarms[0].position.offset < 9800


def test_a_reference_lasts_two_periods_at_least():
    policy = FeaturePolicy(reference=100, window=400, period=DAY)
    values = np.random.default_rng(4).normal(size=4000) + rise(4000, 2000, 2.0)
    assert run(watch("number", policy=policy), numbers(values[:2881])) == []
    values = np.random.default_rng(4).normal(size=4000) + rise(4000, 2881, 2.0)
    (alarm,) = run(watch("number", policy=policy), numbers(values))
    assert alarm.since == 2881 * MINUTE


def test_after_an_alarm_what_is_new_is_the_reference():
    values = np.random.default_rng(5).normal(size=12_000) + rise(12_000, 4000, 2.0)
    assert len(run(watch("number"), numbers(values))) == 1
    again = values - rise(12_000, 8000, 2.0)
    assert len(run(watch("number"), numbers(again))) == 2


def test_after_an_alarm_there_is_none_until_the_cool_down_is_over_in_event_time():
    values = np.random.default_rng(6).normal(size=12_000) + rise(12_000, 3000, 2.0) + rise(12_000, 7000, 2.0)
    first, second = run(watch("number"), numbers(values))
    gap = (second.position.offset - first.position.offset) * MINUTE
    exact = run(watch("number", policy=POLICY._replace(cool_down=gap)), numbers(values))
    longer = run(watch("number", policy=POLICY._replace(cool_down=gap + 1)), numbers(values))
    assert exact == [first, second]
    assert longer[0] == first
    assert longer[1].position.offset == second.position.offset + POLICY.window  # it is still there


@pytest.mark.parametrize("batch", [7, 999, 5000])
def test_how_rows_are_cut_into_batches_changes_nothing(batch):
    rng = np.random.default_rng(7)
    columns = [rng.normal(size=9000) + rise(9000, 6000, 1.0), rng.integers(0, 5, 9000).astype(float)]
    kinds, policy = ("number", "category"), FeaturePolicy(reference=5000, window=1000)
    whole = run(watch(*kinds, policy=policy), numbers(*columns))
    assert whole
    cut = run(watch(*kinds, policy=policy), numbers(*columns), batch=batch)
    (moved,), (expected,) = cut[0].moved, whole[0].moved
    assert moved.after == pytest.approx(expected.after, rel=1e-12)  # a sum of floats in another order
    assert [cut[0]._replace(moved=(moved._replace(after=expected.after),)), *cut[1:]] == whole


@pytest.mark.parametrize("stop", [1500, 2500])
def test_a_detector_that_was_sealed_and_restored_goes_on_as_if_never_stopped(stop):
    rng = np.random.default_rng(8)
    names = rng.choice(list("ab"), 4000).tolist()
    rows = list(zip((rng.normal(size=4000) + rise(4000, 3000, 1.0)).tolist(), names, strict=True))
    detector = watch("number", "category", slices=["category1"])
    sealer = Sealer(b"s" * 32)
    before = run(detector, rows[:stop])
    restored = sealer.open_state(sealer.seal_state(detector))
    after = run(restored, rows[stop:], start=stop)
    assert before + after == run(watch("number", "category", slices=["category1"]), rows) != []


def test_the_state_is_bounded_however_long_the_reference():
    sealer, policy = Sealer(b"s" * 32), FeaturePolicy(reference=20_000)
    detector = watch("number", policy=policy)
    values = np.random.default_rng(9).normal(size=21_000)
    run(detector, numbers(values[:19_999]))
    assert len(sealer.seal_state(detector)) < 40 * KEPT
    run(detector, numbers(values[19_999:]), start=19_999)
    assert len(sealer.seal_state(detector)) < 4300
    moved = values + rise(21_000, 20_000, 1.0)
    (alarm,) = run(watch("number", policy=policy), numbers(moved))
    # what is kept of so long a reference is spread over all of it
    assert alarm.moved[0].statistic == pytest.approx(
        stats.ks_2samp(moved[:20_000], moved[20_000:]).statistic, abs=0.03
    )


def test_an_alarm_names_the_slices_whose_mean_moved_most_and_by_how_much():
    rng = np.random.default_rng(10)
    names = rng.choice(list("abc"), 3000)
    values = rng.normal(size=3000) + np.where(names == "b", rise(3000, 2000, 3.0), rise(3000, 2000, 0.2))
    rows = list(zip(values.tolist(), names.tolist(), strict=True))
    (alarm,) = run(watch("number", "category", slices=["category1"]), rows)
    (moved,) = alarm.moved
    assert (moved.column, len(moved.slices)) == ("number0", 3)
    for each in moved.slices:
        own = names == each.value
        assert each.column == "category1"
        assert each.before == pytest.approx(values[:2000][own[:2000]].mean())
        assert each.after == pytest.approx(values[2000:][own[2000:]].mean())
        assert each.rows == own[2000:].sum()
    assert moved.slices[0].value == "b"


def test_the_columns_furthest_from_the_reference_can_be_named_when_none_drifted():
    rng = np.random.default_rng(12)
    columns = [rng.normal(size=8000) + rise(8000, 4000, by) for by in (0.0, 0.02, 0.25, 0.15, 0.0, 0.0)]
    detector = watch(*["number"] * 6, policy=FeaturePolicy(reference=4000, window=4000))
    assert run(detector, numbers(*columns)) == []
    named = [moved.column for moved in detector.furthest]
    assert (named[:2], len(named)) == (["number2", "number3"], 5)
    for moved in detector.furthest:
        assert moved.after == pytest.approx(columns[int(moved.column[-1])][4000:].mean())


def test_nulls_and_what_is_no_number_are_left_out():
    rng = np.random.default_rng(11)
    clean = (rng.normal(size=3000) + rise(3000, 2000, 1.0)).tolist()
    holes = [
        (value if index % 3 else [None, float("nan"), "x"][index % 9 // 3],)
        for index, value in enumerate(clean)
    ]
    (alarm,) = run(watch("number"), holes)
    kept = [value for index, value in enumerate(clean) if index >= 2000 and index % 3]
    assert alarm.moved[0].after == pytest.approx(np.mean(kept))
    assert run(watch("number", "category"), [(None, None)] * 5000) == []


def test_categories_that_the_reference_did_not_have_count_as_others():
    names = [*"ab" * 1000, *"ab" * 200, *"xyz" * 200]
    (alarm,) = run(watch("category"), [(name,) for name in names])
    assert (alarm.moved[0].category, alarm.moved[0].before) == (OTHER, 0.0)
    assert alarm.moved[0].after == pytest.approx(0.6)


def test_a_number_that_never_changed_and_then_does_is_drift():
    (alarm,) = run(watch("number"), [(1.0,)] * 2000 + [(2.0,)] * 1000)
    assert (alarm.moved[0].before, alarm.moved[0].after, alarm.moved[0].statistic) == (1.0, 2.0, 1.0)


@pytest.mark.parametrize(("by", "level", "back"), [(0.45, "warning", 5000), (3.0, "alarm", 8000)])
def test_a_change_is_over_with_the_first_window_that_is_like_the_reference(by, level, back):
    values = np.random.default_rng(9).normal(size=9000)
    values[3000:4000] += by  # one window
    if level == "alarm":  # it begins a new reference, and what comes after that is like it
        values[4000:] += by
    alarm, over = run_whole(watch("number"), numbers(values))
    assert (alarm.level, alarm.since) == (level, 3000 * MINUTE)
    assert over == Cleared(Position("predictions", 0, back - 1 if level == "warning" else 4000 + 3000 - 1))


def filling(count: int, until: int) -> Values:
    """A count in a window that is full at row `until`."""
    level = np.minimum(np.arange(count) / until, 1.0) * 2
    return level + np.random.default_rng(3).normal(size=count)


def test_a_column_whose_windows_fill_is_compared_with_what_came_after():
    values, steady = filling(12_000, 4000), np.random.default_rng(4).normal(size=12_000)
    assert run(watch("number", "number"), numbers(values, steady)) != []
    detector = watch("number", "number", fills=(4000 * MINUTE,))
    assert run(detector, numbers(values, steady)) == []
    moved = values + rise(12_000, 9000, 2.0)
    alarms = run(watch("number", "number", fills=(4000 * MINUTE,)), numbers(moved, steady))
    assert [[each.column for each in alarm.moved] for alarm in alarms] == [["number0"]]
    assert alarms[0].since == 9000 * MINUTE


def test_the_other_columns_are_compared_while_one_still_fills():
    values, steady = filling(12_000, 4000), np.random.default_rng(4).normal(size=12_000)
    steady += rise(12_000, 3000, 2.0)
    detector = watch("number", "number", fills=(4000 * MINUTE, 0))
    (alarm,) = run(detector, numbers(values, steady))
    assert ([each.column for each in alarm.moved], alarm.since) == (["number1"], 3000 * MINUTE)
    assert detector.compared.psi["number0"] < 0.1  # of the last window, by when it is full


def test_a_column_that_is_full_later_joins_where_the_next_window_begins():
    rng = np.random.default_rng(5)
    columns = [rng.normal(size=8000) + rise(8000, 7000, by) for by in (2.0, 1.0)]
    detector = watch("number", "number", fills=(0, 2500 * MINUTE))
    (alarm,) = run(detector, numbers(*columns))
    assert [each.column for each in alarm.moved] == ["number0", "number1"]
    assert (alarm.width, alarm.since) == (1000, 7000 * MINUTE)


def test_a_column_that_never_fills_is_not_compared():
    values = np.random.default_rng(6).normal(size=6000) + rise(6000, 3000, 2.0)
    detector = watch("number", "number", fills=(float("inf"),))
    (alarm,) = run(detector, numbers(values, values))
    assert [each.column for each in alarm.moved] == ["number1"]
    assert detector.compared.psi["number0"] is None
    assert run(watch("number", fills=(float("inf"),)), numbers(values)) == []


def test_a_drift_too_slow_for_one_window_is_found():
    values = np.random.default_rng(7).normal(size=40_000) + np.maximum(0, np.arange(40_000) - 5000) / 10_000
    found = run(watch("number", policy=FeaturePolicy()), numbers(values))
    assert {alarm.level for alarm in found} == {"warning", "alarm"}
    assert [alarm.moved[0].after > alarm.moved[0].before for alarm in found] == [True] * len(found)


@pytest.mark.parametrize("batch", [7, 999, 5000])
def test_columns_that_fill_at_different_times_raise_the_same_however_rows_are_cut(batch):
    rng = np.random.default_rng(8)
    columns = [rng.normal(size=12_000) + rise(12_000, at, 2.0) for at in (9000, 6000, 9000)]
    fills, names = (3000 * MINUTE, 0, 2700 * MINUTE), rng.choice(list("ab"), 12_000).tolist()
    rows = list(zip(*(column.tolist() for column in columns), names, strict=True))
    kinds, sealer = ("number", "number", "number", "category"), Sealer(b"s" * 32)
    whole = run(watch(*kinds, slices=["category3"], fills=fills), rows)
    assert len(whole) == 2
    assert {each.column for each in whole[0].moved[0].slices} == {"category3"}
    detector, cut = watch(*kinds, slices=["category3"], fills=fills), []
    for start in range(0, len(rows), batch):
        cut += run(detector, rows[start : start + batch], start)
        detector = sealer.open_state(sealer.seal_state(detector)) if batch > 7 else detector
    assert [(a.position, a.since, [m.column for m in a.moved]) for a in cut] == [
        (a.position, a.since, [m.column for m in a.moved]) for a in whole
    ]


values = st.floats() | st.integers(-(10**6), 10**6) | st.booleans() | st.none()


@given(st.integers(0, 8).flatmap(lambda n: st.lists(st.lists(values | st.text(), min_size=n, max_size=n))))
def test_a_matrix_has_the_numbers_of_each_column_and_nan_for_everything_else(columns):
    matrix = number_matrix(columns)
    for row, column in zip(matrix, columns, strict=True):
        expected = [np.nan if value is None or isinstance(value, str) else float(value) for value in column]
        np.testing.assert_array_equal(row, expected)
