"""Partial aggregates: merged and restored ones equal a single pass over all values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.windows.partials import DISTINCT, Partial, kind_of, partial

FUNCTIONS = ("count", "sum", "mean", "std", "var", "min", "max", "first", "last", "count_distinct", "p50")
VALUES = st.lists(st.integers(-1000, 1000).map(lambda value: value / 4), max_size=30)


def filled(function: str, values: list[float], begin: int = 0) -> Partial:
    made = partial(kind_of(function))
    for time, value in enumerate(values, start=begin):
        made.add(time, value)
    return made


@pytest.mark.parametrize("function", FUNCTIONS)
@given(before=VALUES, after=VALUES)
def test_merged_partials_equal_one_over_all_values(function, before, after):
    merged = filled(function, before)
    merged.merge(filled(function, after, begin=len(before)))
    whole = filled(function, before + after)
    assert merged.result(function, 100) == whole.result(function, 100)


@pytest.mark.parametrize("function", FUNCTIONS)
@given(values=VALUES)
def test_a_partial_stored_as_json_is_read_back_equal(function, values):
    stored = filled(function, values)
    read = partial(kind_of(function))
    read.load(json.loads(json.dumps(stored.dump())))
    assert read.result(function, 100) == stored.result(function, 100)


@pytest.mark.parametrize(
    ("function", "empty"), [("count", 0), ("sum", 0.0), ("count_distinct", 0), ("mean", None), ("p50", None)]
)
def test_an_empty_partial_has_zero_for_counts_and_sums_and_none_otherwise(function, empty):
    assert partial(kind_of(function)).result(function, 100) == empty


@pytest.mark.parametrize("split", [1, DISTINCT, DISTINCT + 1])
def test_distinct_values_beyond_the_exact_number_are_estimated_within_five_percent(split):
    values = [float(value) for value in range(4 * DISTINCT)]
    merged = filled("count_distinct", values[:split])
    merged.merge(filled("count_distinct", values[split:]))
    assert merged.result("count_distinct", 0) == pytest.approx(len(values), rel=0.05)
