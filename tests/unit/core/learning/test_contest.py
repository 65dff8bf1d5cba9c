"""The contest between champion and challenger, compared with a Bayes factor by SciPy, over many seeds."""

import math
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from flows.core.learning.contest import Contest
from flows.core.models.tasks import BINARY

Scores = list[tuple[float, float, bool]]

LEVEL, PATIENCE, BLOCK = 0.05, 2000, 20  # 100 blocks, as many as by default


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rivals(seed: int, labels: int, champion_noise: float, challenger_noise: float) -> Scores:
    """Both know the probability of each event but for a noise of their own on the log odds."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1, labels)
    champion, challenger = (
        logistic(odds + rng.normal(0, noise, labels)) for noise in (champion_noise, challenger_noise)
    )
    truths = rng.random(labels) < logistic(odds)
    return list(zip(champion.tolist(), challenger.tolist(), truths.tolist(), strict=True))


def losses(row: tuple[float, float, bool]) -> tuple[float, float]:
    champion, challenger, truth = row
    return BINARY.loss(champion, truth), BINARY.loss(challenger, truth)


def verdict(rows: Scores, significance: float = LEVEL, patience: int = PATIENCE, block: int = BLOCK):
    """How the contest ends, and after how many labels."""
    contest = Contest(significance, patience, block)
    for number, row in enumerate(rows, 1):
        result = contest.update(*losses(row))
        if result != "open":
            return result, number
    return "open", len(rows)


def expected(rows: Scores, significance: float, patience: int, block: int):
    """The same by definition: the least Bayes factor over blocks of 1, 2, 4, ... times the length.

    Each is of block means of log losses, for a mixture of effects as wide as the blocks scatter.
    """
    champion, challenger, truth = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    gains = loss(champion, truth) - loss(challenger, truth)
    for labels in range(block, len(rows) + 1, block):
        lengths = [block * 2**power for power in range(12) if labels // (block * 2**power) >= 10]
        factors = [bayes_factor(gains[:labels], length) for length in lengths]
        if factors and min(factors) > 1 / significance:
            return "won" if gains[:labels].mean() > 0 else "lost", labels
        if labels >= patience:
            return "lost", labels
    return "open", len(rows)


def bayes_factor(gains: np.ndarray, length: int) -> float:
    means = gains[: len(gains) // length * length].reshape(-1, length).mean(axis=1)
    n = len(means)
    statistic = means.mean() / means.std(ddof=1) * math.sqrt(n)
    return t.pdf(statistic, n - 1, scale=math.sqrt(1 + n)) / t.pdf(statistic, n - 1)


def loss(score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return -np.log(np.where(truth == 1, score, 1 - score))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("noises", [(1.0, 0.3), (0.3, 1.0), (0.5, 0.5)])
def test_each_verdict_comes_when_the_bayes_factor_says_so(seed, noises):
    rows = rivals(seed, PATIENCE, *noises)
    assert verdict(rows) == expected(rows, LEVEL, PATIENCE, BLOCK)


def test_of_equal_models_fewer_are_promoted_than_the_declared_level():
    won = {0.05: 0, 0.01: 0}
    for seed in range(400):
        rows = rivals(seed, PATIENCE, 0.5, 0.5)
        for level in won:
            won[level] += verdict(rows, level)[0] == "won"
    assert won[0.05] / 400 < 0.05
    assert won[0.01] / 400 < 0.01


def test_of_equal_models_that_err_alike_for_a_while_fewer_are_promoted_than_the_declared_level():
    """Every 20 events in a row share what the models do not know of them, as flights share a storm."""
    won = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        storm, one, other = (rng.normal(0, s, PATIENCE // BLOCK).repeat(BLOCK) for s in (1, 0.5, 0.5))
        odds = rng.normal(-1, 1, PATIENCE)
        truths = rng.random(PATIENCE) < logistic(odds + storm)
        columns = logistic(odds + one), logistic(odds + other), truths
        won += verdict(list(zip(*(column.tolist() for column in columns), strict=True)))[0] == "won"
    assert won / 300 < LEVEL


def test_of_equal_models_that_err_alike_for_four_blocks_few_are_promoted():
    """Ten blocks of four times the length are soon there, and their means are independent."""
    long, runs = 4 * BLOCK, 200
    won, naive = 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        one, other = (rng.normal(0, 0.5, PATIENCE // long).repeat(long) for _ in range(2))
        odds = rng.normal(-1, 1, PATIENCE)
        truths = rng.random(PATIENCE) < logistic(odds)
        columns = logistic(odds + one), logistic(odds + other), truths
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        won += verdict(rows)[0] == "won"
        gains = loss(columns[0], truths) - loss(columns[1], truths)
        looks = range(10 * BLOCK, PATIENCE + 1, BLOCK)
        naive += any(bayes_factor(gains[:n], BLOCK) > 1 / LEVEL and gains[:n].mean() > 0 for n in looks)
    assert won < naive / 2


def test_a_challenger_that_is_better_wins_long_before_patience_is_out():
    verdicts = [verdict(rivals(seed, PATIENCE, 1.5, 0.2)) for seed in range(60)]
    assert [result for result, _ in verdicts] == ["won"] * 60
    assert sum(labels for _, labels in verdicts) / 60 < PATIENCE / 2


def test_a_challenger_that_is_worse_loses():
    assert {verdict(rivals(seed, PATIENCE, 0.2, 1.5))[0] for seed in range(60)} == {"lost"}


def test_a_challenger_that_is_the_same_loses_when_patience_is_out():
    rows = [(0.3, 0.3, label % 3 == 0) for label in range(300)]
    assert verdict(rows, patience=200) == ("lost", 200)
    assert verdict(rows, patience=1000) == ("open", 300)


def test_a_challenger_that_is_better_by_the_same_amount_each_time_wins():
    rows = [(0.3, 0.4, True)] * 300
    assert verdict(rows)[0] == "won"
    assert verdict([(b, a, truth) for a, b, truth in rows])[0] == "lost"


def test_no_verdict_falls_before_ten_blocks():
    rows = [(0.01, 0.99, True)] * 300
    assert verdict(rows, block=20) == ("won", 200)


def test_a_stricter_level_needs_more_labels():
    rows = rivals(1, 20_000, 0.9, 0.3)
    loose, strict = (verdict(rows, level, 20_000) for level in (0.2, 0.0001))
    assert (loose[0], strict[0]) == ("won", "won")
    assert loose[1] < strict[1]


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.booleans()), max_size=90))
def test_the_gain_is_the_mean_difference_of_the_log_losses_over_whole_blocks(rows):
    contest = Contest(LEVEL, PATIENCE, block=7)
    for row in rows:
        contest.update(*losses(row))
    whole = rows[: len(rows) // 7 * 7]
    gains = [
        BINARY.loss(champion, truth) - BINARY.loss(challenger, truth) for champion, challenger, truth in whole
    ]
    assert contest.gain == pytest.approx(sum(gains) / len(gains) if gains else 0.0, abs=1e-9)
    assert contest.labels == len(rows)


@given(st.floats(0, 1), st.booleans())
def test_the_log_loss_of_any_score_is_finite(score, truth):
    assert 0 <= BINARY.loss(score, truth) <= -log(1e-15)


@pytest.mark.parametrize(
    ("score", "truth", "likelihood"), [(0.8, True, 0.8), (0.8, False, 0.2), (0.5, True, 0.5)]
)
def test_the_log_loss_is_that_of_the_truths_likelihood(score, truth, likelihood):
    assert BINARY.loss(score, truth) == pytest.approx(-log(likelihood))
