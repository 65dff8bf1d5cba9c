"""Exact arithmetic, compared with fractions."""

from fractions import Fraction
from statistics import variance as sample_variance

from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.windows.exact import fixed, total, variance

VALUES = st.lists(st.integers(-(2**40), 2**40).map(lambda value: value / 1024), min_size=2, max_size=40)


@given(VALUES)
def test_a_sum_is_the_float_nearest_to_the_true_sum(values):
    assert total(sum(map(fixed, values))) == float(sum(map(Fraction, values)))


@given(VALUES)
def test_a_variance_is_the_float_nearest_to_the_true_variance(values):
    units = [fixed(value) for value in values]
    found = variance(len(units), sum(units), sum(unit * unit for unit in units))
    assert found == float(sample_variance(map(Fraction, values)))


@given(st.integers(0, 1))
def test_fewer_than_two_values_have_no_variance(count):
    assert variance(count, count, count) is None
