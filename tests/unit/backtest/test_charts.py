"""Scales, ticks and paths of charts."""

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.backtest.charts import path, time_axis, value_axis

MINUTE, DAY = 60_000, 86_400_000
numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@given(st.lists(numbers, min_size=1, max_size=30))
def test_every_value_is_between_the_first_and_the_last_of_a_few_ticks_that_read_differently(values):
    scale, ticks = value_axis(values)
    assert scale.low <= min(values) + 1e-9
    assert max(values) <= scale.high + 1e-9
    assert 2 <= len(ticks) <= 7
    assert len({tick.label for tick in ticks}) == len(ticks)
    assert (ticks[0].at, ticks[-1].at) == (0, 100)


@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_label_says_the_value_at_which_its_tick_stands(values):
    scale, ticks = value_axis(values)
    for tick in ticks:
        value = float(tick.label.replace(",", ""))
        assert scale.at(value) == pytest.approx(tick.at, abs=0.01)


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan, math.inf]])
def test_without_a_value_the_scale_is_from_0_to_1(values):
    assert value_axis(values)[0] == (0, 1)


def test_values_that_are_not_finite_do_not_stretch_the_scale():
    assert value_axis([0.5, math.nan, math.inf, 0.8]) == value_axis([0.5, 0.8])


@given(st.integers(0, ms("2040-01-01")), st.integers(2 * MINUTE, 60 * 366 * DAY))
def test_the_ticks_of_time_are_few_in_order_and_on_the_scale(start, length):
    _, ticks = time_axis(start, start + length)
    places = [tick.at for tick in ticks]
    assert 1 <= len(ticks) <= 5
    assert places == sorted(set(places))
    assert places[0] >= 0
    assert places[-1] <= 100


@pytest.mark.parametrize(
    ("start", "end", "labels"),
    [
        ("2013-01-01", "2014-01-01", ["Jan 2013", "Apr 2013", "Jul 2013", "Oct 2013", "Jan 2014"]),
        ("2013-02-03", "2013-02-12", ["04 Feb", "06 Feb", "08 Feb", "10 Feb", "12 Feb"]),
        ("2013-02-03T10:01", "2013-02-03T10:04", ["10:01", "10:02", "10:03", "10:04"]),
        ("2013-02-03T22:10", "2013-02-04T01:30", ["03 Feb 23:00", "04 Feb 00:00", "04 Feb 01:00"]),
        ("2013-02-03", "2013-02-03", ["00:00"]),
    ],
)
def test_the_ticks_of_time_are_on_round_times(start, end, labels):
    assert [tick.label for tick in time_axis(ms(start), ms(end))[1]] == labels


@given(st.lists(st.floats(0, 100) | st.just(math.nan), max_size=20))
def test_a_path_has_every_finite_value_once_and_starts_anew_behind_each_gap(values):
    drawn = path(list(range(len(values))), values)
    finite = [n for n, value in enumerate(values) if not math.isnan(value)]
    points = re.findall(r"([ML])([\d.e+-]+) ([\d.e+-]+?)(?=[MLh]|$)", drawn)
    assert [float(x) for _, x, _ in points] == finite
    assert [float(y) for _, _, y in points] == pytest.approx(
        [100 - values[n] for n in finite], rel=1e-4, abs=1e-3
    )
    assert [kind == "M" for kind, _, _ in points] == [n - 1 not in finite for n in finite]
    assert drawn.count("h0") == sum(n - 1 not in finite and n + 1 not in finite for n in finite)
