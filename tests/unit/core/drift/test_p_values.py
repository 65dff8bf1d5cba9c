"""The p-values are SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flows.core.drift.p_values import adjusted, chi_square_tail, kolmogorov_smirnov, one_sided

# SciPy approximates the larger p-values of more than 140 rows; this is above its largest error.
APPROXIMATE = 5e-6


@given(rows=st.integers(1, 1000), square=st.floats(0, 60))
def test_the_probability_of_a_distance_is_scipys(rows, square):
    distance = float(np.sqrt(square / rows))
    expected = float(stats.kstwo.sf(distance, rows))
    is_exact = rows <= 140 or square > 2.2001  # SciPy's own limit is 2.2, of the rounded distance
    tolerance = {"rel": 1e-9, "abs": 1e-300} if is_exact else {"rel": 0, "abs": APPROXIMATE}
    assert kolmogorov_smirnov(distance, rows) == pytest.approx(expected, **tolerance)


@given(rows=st.integers(1, 1000), distance=st.floats(0, 1.5))
def test_the_probability_in_one_direction_is_scipys_and_not_above_that_in_both(rows, distance):
    found = one_sided(distance, rows)
    assert found == pytest.approx(float(stats.ksone.sf(distance, rows)), rel=1e-9, abs=1e-300)
    assert found <= kolmogorov_smirnov(distance, rows) * (1 + 1e-9)


def test_a_distance_that_was_simulated_is_as_rare_as_that():
    draws = np.random.default_rng(0).random((20_000, 50))
    draws.sort(axis=1)
    steps = np.arange(51) / 50
    distances = np.maximum(steps[1:] - draws, draws - steps[:-1]).max(axis=1)
    for distance in (0.08, 0.12, 0.2, 0.25):
        share = float((distances >= distance).mean())
        assert kolmogorov_smirnov(distance, 50) == pytest.approx(share, abs=0.012)


@given(statistic=st.floats(0, 1300), freedom=st.integers(1, 60))
def test_the_probability_of_a_chi_square_statistic_is_scipys(statistic, freedom):
    expected = float(stats.chi2.sf(statistic, freedom))
    assert chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-290)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_adjusted_values_are_scipys_to_the_last_digit(values):
    assert adjusted(values).tolist() == stats.false_discovery_control(values).tolist()


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=60), st.floats(0, 0.1))
def test_values_that_are_not_significant_change_none_that_is(values, significance):
    rounded_up = adjusted([1.0 if value > significance else value for value in values])
    exact = adjusted(values)
    assert (exact[exact <= significance] == rounded_up[exact <= significance]).all()
    assert (rounded_up[exact > significance] > significance).all()


def test_without_values_there_are_none():
    assert adjusted([]).tolist() == []
