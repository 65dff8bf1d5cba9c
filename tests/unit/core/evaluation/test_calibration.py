"""Calibration, compared with NumPy over all labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.calibration import Calibration
from flows.core.models.snapshots import Sealer

edges = st.integers(0, 10).map(lambda n: n / 10)
rows = st.lists(st.tuples(st.floats(0, 1) | edges, st.booleans()), min_size=1, max_size=120)


def calibration(labels: list[tuple[float, bool]], bins: int = 10) -> Calibration:
    taken = Calibration(bins)
    taken.update_many([score for score, _ in labels], [truth for _, truth in labels])
    return taken


def columns(labels: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    scores, truths = zip(*labels, strict=True)
    return np.array(scores), np.array(truths, dtype=float)


@given(rows)
def test_the_bins_are_those_of_a_histogram(labels):
    scores, truths = columns(labels)
    bounds = np.array([n / 10 for n in range(11)])
    counts, _ = np.histogram(scores, bounds)
    sums, _ = np.histogram(scores, bounds, weights=scores)
    positives, _ = np.histogram(scores, bounds, weights=truths)
    table = calibration(labels).table()
    assert [row.low for row in table] == bounds[:-1].tolist()
    assert [row.high for row in table] == bounds[1:].tolist()
    assert [row.labels for row in table] == counts.tolist()
    for row, total, true in zip(table, sums, positives, strict=True):
        if row.labels:
            assert row.score * row.labels == pytest.approx(total)
            assert row.share * row.labels == pytest.approx(true)
        else:
            assert math.isnan(row.score)
            assert math.isnan(row.share)


def test_a_score_on_the_edge_of_two_bins_is_in_the_upper_one_however_it_is_rounded():
    for number in range(100):
        filled = [row.low for row in calibration([(number / 100, True)], bins=100).table() if row.labels]
        assert filled == [number / 100]


@given(rows)
def test_the_brier_score_is_the_mean_squared_error_and_the_sum_of_its_parts(labels):
    scores, truths = columns(labels)
    brier = calibration(labels).brier()
    assert brier.score == pytest.approx(np.mean((scores - truths) ** 2), abs=1e-12)
    parts = brier.reliability - brier.resolution + brier.uncertainty + brier.within
    assert brier.score == pytest.approx(parts, abs=1e-12)
    assert brier.uncertainty == pytest.approx(np.var(truths), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 9).map(lambda n: n / 10 + 0.05), st.booleans()), min_size=1))
def test_where_the_scores_of_a_bin_are_the_same_murphys_three_parts_are_all_there_is(labels):
    assert calibration(labels).brier().within == pytest.approx(0, abs=1e-12)


@given(rows)
def test_what_is_left_is_the_variance_and_the_covariance_within_the_bins(labels):
    scores, truths = columns(labels)
    numbers = np.array([np.searchsorted([n / 10 for n in range(1, 10)], s, side="right") for s in scores])
    within = 0.0
    for number in set(numbers):
        score, truth = scores[numbers == number], truths[numbers == number]
        deviations = score - score.mean()
        within += np.sum(deviations**2) - 2 * np.sum(deviations * (truth - truth.mean()))
    assert calibration(labels).brier().within == pytest.approx(within / len(labels), abs=1e-12)


@given(rows)
def test_the_expected_error_is_the_mean_distance_of_scores_and_shares(labels):
    scores, truths = columns(labels)
    numbers = np.searchsorted([n / 10 for n in range(1, 10)], scores, side="right")
    expected = sum(
        np.mean(numbers == number) * abs(scores[numbers == number].mean() - truths[numbers == number].mean())
        for number in set(numbers.tolist())
    )
    assert calibration(labels).expected_error() == pytest.approx(expected, abs=1e-12)


@given(rows, st.integers(0, 120))
def test_the_sums_are_those_of_one_label_after_the_other_to_the_last_digit(labels, cut):
    split, single = calibration(labels[:cut]), calibration([])
    split.update_many([score for score, _ in labels[cut:]], [truth for _, truth in labels[cut:]])
    for score, truth in labels:
        single.update_many([score], [truth])
    assert split.brier() == single.brier()
    assert repr(split.table()) == repr(single.table())


@given(rows, rows)
def test_two_stretches_of_labels_add_up_to_both(first, second):
    both, whole = calibration(first) + calibration(second), calibration(first + second)
    assert both.labels == whole.labels == len(first) + len(second)
    assert both.brier() == pytest.approx(whole.brier(), abs=1e-12)
    assert both.expected_error() == pytest.approx(whole.expected_error(), abs=1e-12)


def test_of_different_bins_there_is_no_sum():
    with pytest.raises(ValueError, match="broadcast"):
        calibration([(0.5, True)], bins=10) + calibration([(0.5, True)], bins=20)


def test_a_calibrated_model_has_hardly_any_error_and_an_overconfident_one_has_what_it_exaggerates():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0, 1, 50_000)
    truths = rng.random(50_000) < chances
    honest = calibration(list(zip(chances.tolist(), truths.tolist(), strict=True)))
    exaggerated = np.where(chances > 0.5, 0.97, 0.03)
    loud = calibration(list(zip(exaggerated.tolist(), truths.tolist(), strict=True)))
    assert honest.expected_error() < 0.01
    assert loud.expected_error() == pytest.approx(0.22, abs=0.01)  # .97 is served where .75 is true
    assert loud.brier().reliability == pytest.approx(0.22**2, abs=0.005)


def test_the_overall_share_served_each_time_is_calibrated_and_tells_nothing_apart():
    flat = calibration([(0.25, n % 4 == 0) for n in range(400)])
    assert flat.expected_error() == 0
    assert (flat.brier().reliability, flat.brier().resolution) == (0, 0)
    assert flat.brier().score == flat.brier().uncertainty == 0.25 * 0.75


def test_without_labels_nothing_is_a_number():
    empty = Calibration()
    assert math.isnan(empty.expected_error())
    assert all(math.isnan(part) for part in empty.brier())


def test_what_is_counted_survives_a_snapshot():
    sealer, taken = Sealer(b"s" * 32), calibration([(0.3, True), (0.8, False)])
    kept = sealer.open_state(sealer.seal_state(taken))
    assert kept.brier() == taken.brier()
