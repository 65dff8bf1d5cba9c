"""Rolling windows and fading means, compared with recomputation and River's rolling metrics."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics, utils

from flows.core.evaluation.rolling import FadingMean, RecentItems, measure
from flows.core.models.snapshots import Sealer

arrivals = st.lists(st.integers(0, 60), max_size=60)


def taken(times: list[int], limit: int) -> RecentItems[int]:
    """The items are their own numbers."""
    recent: RecentItems[int] = RecentItems(limit)
    for number, time in enumerate(times):
        recent.add(time, number)
    return recent


@given(arrivals, st.integers(1, 20), st.integers(0, 30))
def test_the_last_labels_are_those_that_came_last_as_far_as_they_are_kept(times, limit, count):
    everything = list(range(len(times)))
    expected = everything[max(0, len(times) - min(count, limit)) :]
    assert taken(times, limit).last(count) == expected


@given(arrivals, st.integers(1, 50))
def test_without_a_limit_that_bites_a_period_has_every_label_of_its_time_in_whatever_order_they_came(
    times, period
):
    window = taken(times, limit=100).within(period)
    newest = max(times, default=0)
    assert window.items == [number for number, time in enumerate(times) if newest - period < time]
    assert window.whole


@given(arrivals, st.integers(1, 20), st.integers(1, 50))
def test_a_period_says_that_it_is_whole_exactly_where_nothing_of_its_time_was_dropped(times, limit, period):
    window = taken(times, limit).within(period)
    everything = taken(times, limit=100).within(period).items
    assert window.whole == (window.items == everything)
    assert window.items == everything[len(everything) - len(window.items) :]


def test_a_label_that_is_behind_the_period_when_it_comes_is_not_in_it():
    assert taken([100, 10, 120], limit=10).within(50).items == [0, 2]


def test_no_more_is_kept_than_the_limit():
    recent = taken(list(range(1000)), limit=7)
    assert len(recent.last(1000)) == len(recent.within(10_000).items) == 7


@pytest.mark.parametrize("metric", [metrics.Accuracy, metrics.F1, metrics.CohenKappa, metrics.MCC])
def test_a_metric_of_answers_over_the_last_labels_is_the_one_that_rivers_rolling_window_gives(metric):
    rng = np.random.default_rng(3)
    assert_as_river_does(metric, rng.random(300) < 0.4, rng.random(300) < 0.5)


@pytest.mark.parametrize("metric", [metrics.LogLoss, metrics.ROCAUC, metrics.MAE, metrics.RMSE])
def test_a_metric_of_numbers_over_the_last_labels_is_the_one_that_rivers_rolling_window_gives(metric):
    rng = np.random.default_rng(4)
    assert_as_river_does(metric, rng.random(300) < 0.4, rng.random(300))


def assert_as_river_does(metric, truths: np.ndarray, answers: np.ndarray) -> None:
    theirs, recent = utils.Rolling(metric, window_size=50), RecentItems[tuple](50)
    for number, row in enumerate(zip(truths.tolist(), answers.tolist(), strict=True)):
        theirs.update(*row)
        recent.add(number, row)
    assert measure(metric, recent.last(50)).get() == pytest.approx(theirs.get(), abs=1e-9)


def test_a_huge_value_leaves_nothing_behind_when_it_has_left_the_window():
    recent: RecentItems[tuple[float, float]] = RecentItems(10)
    for number in range(30):
        recent.add(number, (1e30 if number == 5 else 1.0, 0.5))
    assert measure(metrics.MSE, recent.last(10)).get() == 0.25


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.floats(0.5, 0.9999))
def test_the_fading_mean_weighs_each_loss_alpha_times_the_next(losses, alpha):
    fading = FadingMean(alpha)
    for loss in losses:
        fading.update(loss)
    weights = alpha ** np.arange(len(losses))[::-1]
    assert fading.get() == pytest.approx(np.average(losses, weights=weights), rel=1e-9, abs=1e-12)


def test_the_fading_mean_forgets_after_the_labels_that_its_alpha_says():
    fading = FadingMean(0.99)
    for number in range(2000):
        fading.update(float(number < 1000))
    assert fading.get() == pytest.approx(0.99**1000, rel=1e-3)
    fading.update(1.0)
    assert fading.get() == pytest.approx(0.01, rel=0.01)


def test_a_mean_of_no_label_is_no_number():
    assert math.isnan(FadingMean(0.9).get())


def test_what_is_kept_survives_a_snapshot():
    recent, fading = taken([5, 3, 9, 4], limit=3), FadingMean(0.9)
    fading.update(1.0)
    sealer = Sealer(b"s" * 32)
    kept, faded = sealer.open_state(sealer.seal_state((recent, fading)))
    for each in (recent, kept):
        each.add(8, 4)
    assert kept.within(10) == recent.within(10)
    assert kept.within(10).whole is False
    assert faded.get() == 1.0
