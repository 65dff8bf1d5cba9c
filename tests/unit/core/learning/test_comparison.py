"""The comparison of two models: measures over the same labels, and the confidence of a difference."""

from math import isclose, sqrt
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics
from scipy.stats import ttest_1samp

from flows.core.learning.comparison import PairedScores, compare, confidence
from flows.core.learning.contest import Contest
from flows.core.models.tasks import BINARY, TASKS, log_loss

LOSSES = st.lists(
    st.tuples(st.floats(0, 10, allow_subnormal=False), st.floats(0, 10, allow_subnormal=False)),
    min_size=40,
    max_size=200,
)


def split(pairs):
    return [first for first, _ in pairs], [second for _, second in pairs]


def by_name(measures):
    return {each.name: each for each in measures}


def test_each_measure_is_that_of_its_scores():
    pairs = [PairedScores(True, 0.6, 0.9), PairedScores(False, 0.4, 0.2), PairedScores(True, 0.3, 0.8)] * 5
    fresh = [{"Accuracy": metrics.Accuracy()}, {"Accuracy": metrics.Accuracy()}]
    found = by_name(compare(BINARY, fresh, pairs, 1))
    assert isclose(found["loss"].first, fmean(map(log_loss, (0.6, 0.6, 0.3))))
    assert isclose(found["loss"].difference, found["loss"].second - found["loss"].first)
    assert isclose(found["error_rate"].first, 1 / 3)
    assert found["error_rate"].second == 0.0
    accuracy = found["Accuracy"]
    assert (accuracy.first, accuracy.second) == (pytest.approx(2 / 3), 1.0)
    assert accuracy.bigger_is_better
    assert accuracy.confidence is None


def test_a_regression_is_compared_by_its_errors():
    pairs = [PairedScores(10.0, 8.0, 9.0)] * 20
    found = by_name(compare(TASKS["regression"], [{}, {}], pairs, 2))
    assert (found["absolute_error"].first, found["absolute_error"].second) == (2.0, 1.0)
    assert found["absolute_error"].confidence == 1.0, "the difference is the same in all blocks"


@given(LOSSES, st.integers(1, 4))
def test_the_confidence_is_that_of_a_paired_t_test_on_means_of_blocks(pairs, block):
    first, second = split(pairs)
    gains = [one - other for one, other in pairs]
    means = [fmean(gains[at * block : (at + 1) * block]) for at in range(len(gains) // block)]
    found = confidence(first, second, block)
    if max(means) - min(means) > 1e-6:
        assert found == pytest.approx(1 - ttest_1samp(means, 0).pvalue, abs=1e-9)
    assert 0 <= found <= 1
    assert found == pytest.approx(confidence(second, first, block)), "it has no direction"


@given(LOSSES)
def test_the_blocks_are_those_of_a_contest(pairs):
    contest = Contest(0.05, patience=10_000, block=4)
    for first, second in pairs:
        contest.update(first, second)
    first, second = split(pairs)
    found, blocks = confidence(first, second, 4), len(pairs) // 4
    t = abs(contest.evidence)
    if 0 < t < 1e3:
        from scipy.special import stdtr

        assert found == pytest.approx(2 * stdtr(blocks - 1, t) - 1, abs=1e-9)


def test_too_few_blocks_and_no_difference_give_no_confidence():
    random = Random(3)
    first = [random.random() for _ in range(99)]
    assert confidence(first, first, 10) is None, "nine whole blocks"
    assert confidence(first, first, 9) == 0.0


def test_equal_models_differ_with_confidence_as_rarely_as_it_says():
    random = Random(5)
    runs = 400
    confident = sum(
        confidence([random.gauss() for _ in range(300)], [random.gauss() for _ in range(300)], 20) > 0.95
        for _ in range(runs)
    )
    assert abs(confident / runs - 0.05) < 3 * sqrt(0.05 * 0.95 / runs)
