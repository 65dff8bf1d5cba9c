"""Contributions in any model: the definition by orders, the axioms of Shapley, and the error of a sample."""

from collections.abc import Callable, Mapping
from math import prod, sin
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley import against, by_coalitions, by_orders

from flows.core.explaining.sampling import BUDGET, coalitions_attribution, sampled_attribution

Row = Mapping[str, float]
NAMES = ("a", "b", "c", "d")
MANY = tuple("abcdefgh")

numbers = st.floats(-10, 10)
row_of = {names: st.fixed_dictionaries(dict.fromkeys(names, numbers)) for names in (NAMES, MANY)}
backgrounds = st.lists(row_of[NAMES], min_size=1, max_size=6)


def mixed(x: Row) -> float:
    """A function with interactions of two and of three features; it does not read `d`."""
    return 3 * x["a"] - x["a"] * x["b"] + sin(x["a"] * x["b"] * x["c"])


def separate(x: Row) -> float:
    """A sum of functions of single features."""
    return sum(number * sin(value) for number, value in enumerate(x.values()))


def random_rows(count: int, names: tuple[str, ...] = MANY, seed: int = 1) -> list[Row]:
    random = Random(seed)
    return [{name: random.gauss(0, 1) for name in names} for _ in range(count)]


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[[Row], float]) -> None:
        self.calls = 0
        self._function = function

    def __call__(self, x: Row) -> float:
        self.calls += 1
        return self._function(x)


@given(row_of[NAMES], backgrounds)
def test_over_all_coalitions_they_are_the_mean_changes_over_all_orders(
    row: Row, background: list[Row]
) -> None:
    found = coalitions_attribution(mixed, row, background)
    assert found is not None
    value = against(mixed, row, background)
    assert found.contributions == pytest.approx(by_orders(value, NAMES), abs=1e-9)
    assert found.base == pytest.approx(value(()), abs=1e-9)


@pytest.mark.parametrize("attribution", [coalitions_attribution, sampled_attribution])
@settings(max_examples=20, deadline=None)  # a sample uses its whole budget
@given(row=row_of[NAMES], background=backgrounds)
def test_the_base_and_the_contributions_add_up_to_the_output(attribution, row, background) -> None:
    found = attribution(mixed, row, background)
    assert found.total == pytest.approx(mixed(row), abs=1e-9)
    assert found.rows == len(background)


@pytest.mark.parametrize("attribution", [coalitions_attribution, sampled_attribution])
@settings(max_examples=20, deadline=None)  # a sample uses its whole budget
@given(row=row_of[NAMES], background=backgrounds)
def test_a_feature_that_the_model_does_not_read_contributes_nothing(attribution, row, background) -> None:
    assert attribution(mixed, row, background).contributions["d"] == 0.0


@given(numbers, numbers, st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6))
def test_features_that_the_model_treats_alike_contribute_alike(one: float, other: float, pairs) -> None:
    def symmetric(x: Row) -> float:
        return x["a"] * x["b"] + x["c"]

    background = [{"a": each, "b": each, "c": third} for each, third in pairs]
    found = coalitions_attribution(symmetric, {"a": one, "b": one, "c": other}, background)
    assert found is not None
    assert found.contributions["a"] == pytest.approx(found.contributions["b"], abs=1e-9)


def test_more_scores_than_the_budget_are_not_computed_for_all_coalitions() -> None:
    background = random_rows(100)
    assert coalitions_attribution(separate, random_rows(1)[0], background) is None
    seven = [{name: row[name] for name in MANY[:7]} for row in background]
    counted = Counted(separate)
    assert coalitions_attribution(counted, dict.fromkeys(MANY[:7], 9.0), seven) is not None
    assert counted.calls == 2**7 * 100 <= BUDGET


def test_a_sample_needs_no_more_scores_than_the_budget() -> None:
    for width in (8, 50, 400):
        names = tuple(f"f{number}" for number in range(width))
        counted = Counted(separate)
        sampled_attribution(counted, dict.fromkeys(names, 2.0), random_rows(100, names))
        assert BUDGET / 2 < counted.calls <= BUDGET + 101


def product(x: Row) -> float:
    return prod(1 + value / 4 for value in x.values())


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_within_five_standard_errors_of_all_coalitions(seed: int) -> None:
    row, *background = random_rows(31, seed=seed)
    found = sampled_attribution(product, row, background)
    exact = by_coalitions(against(product, row, background), MANY)
    for name in MANY:
        assert 0 < found.errors[name] < 0.1
        assert abs(found.contributions[name] - exact[name]) < 5 * found.errors[name]


def test_the_standard_errors_are_those_of_the_estimates() -> None:
    misses = []
    for seed in range(40):
        row, *background = random_rows(11, NAMES, seed=seed)
        found = sampled_attribution(mixed, row, background)
        exact = by_coalitions(against(mixed, row, background), NAMES)
        misses += [abs(found.contributions[name] - exact[name]) / found.errors[name] for name in "abc"]
    assert 0.5 < sum(miss < 1 for miss in misses) / len(misses) < 0.85  # 0.68 of normal errors
    assert sum(miss < 3 for miss in misses) / len(misses) > 0.95


def test_a_sum_of_functions_of_single_features_is_sampled_without_an_error() -> None:
    row, *background = random_rows(41)
    found = sampled_attribution(separate, row, background)
    exact = by_coalitions(against(separate, row, background), MANY)
    assert found.contributions == pytest.approx(exact, abs=1e-9)
    assert max(found.errors.values()) < 1e-12


def test_a_sample_is_the_same_each_time() -> None:
    row, *background = random_rows(41)
    assert sampled_attribution(product, row, background) == sampled_attribution(product, row, background)
