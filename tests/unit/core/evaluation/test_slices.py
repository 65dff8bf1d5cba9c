"""Rates of slices and their gaps, compared with plain counts over all labels."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.slices import OTHER, Fairness, SliceRates, Slices, fairness
from flows.core.models.snapshots import Sealer

rows = st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.booleans()), max_size=100)


def counted(labels, minimum: int = 1, most: int = 50) -> list[SliceRates]:
    slices = Slices(("group",), minimum, most)
    for block in (labels[:30], labels[30:]):
        if block:
            values, answers, truths = zip(*block, strict=True)
            slices.update_many([values], answers, truths)
    return slices.rates("group")


def share(hits: list[bool], minimum: int) -> float:
    return float(np.mean(hits)) if hits and len(hits) >= minimum else math.nan


def same(a, b) -> bool:
    return a == pytest.approx(b, nan_ok=True)


@given(rows, st.integers(1, 10))
def test_each_rate_is_a_share_of_its_own_labels_and_given_from_the_minimum_count_on(labels, minimum):
    found = {row.value: row for row in counted(labels, minimum)}
    assert set(found) == {value for value, _, _ in labels}
    for value, row in found.items():
        own = [(answer, truth) for each, answer, truth in labels if each == value]
        assert row.labels == len(own)
        assert same(row.positive, share([answer for answer, _ in own], minimum))
        assert same(row.true_positive, share([answer for answer, truth in own if truth], minimum))
        assert same(row.false_positive, share([answer for answer, truth in own if not truth], minimum))
        assert same(row.error, share([answer != truth for answer, truth in own], minimum))


@given(rows, st.integers(1, 4))
def test_beyond_the_most_values_the_rest_is_one_group_and_no_label_is_lost(labels, most):
    found = counted(labels, most=most)
    first = list(dict.fromkeys(value for value, _, _ in labels))[:most]
    expected = Counter(value if value in first else OTHER for value, _, _ in labels)
    assert {row.value: row.labels for row in found} == dict(expected)
    assert len(found) <= most + 1


def test_the_largest_group_comes_first_and_equal_ones_by_name():
    found = counted([(value, True, True) for value in "cbbacc"])
    assert [row.value for row in found] == ["c", "b", "a"]
    assert [row.value for row in counted([(value, True, True) for value in "cba"])] == ["a", "b", "c"]


def test_columns_are_counted_apart():
    slices = Slices(("carrier", "origin"), minimum=1)
    slices.update_many([["UA", "UA"], [None, "JFK"]], [True, False], [False, False])
    assert slices.columns == ("carrier", "origin")
    assert [(row.value, row.labels, row.error) for row in slices.rates("carrier")] == [("UA", 2, 0.5)]
    assert [(row.value, row.error) for row in slices.rates("origin")] == [("JFK", 0.0), ("None", 1.0)]


def group(value: str, positive=math.nan, true_positive=math.nan, false_positive=math.nan, error=math.nan):
    return SliceRates(value, 1000, positive, true_positive, false_positive, error)


def test_fairness_is_the_distance_between_the_highest_and_the_lowest_rate():
    found = fairness([group("a", 0.5, 0.9, 0.2, 0.1), group("b", 0.25, 0.6, 0.3, 0.3), group("c", 0.4, 0.7)])
    assert found == pytest.approx(Fairness(0.25, 0.5, 0.3, 0.1, 0.2))


def test_a_group_below_the_minimum_is_left_out_of_the_comparison():
    small = [("c", True, True)] * 3
    large = [("a", True, True)] * 20 + [("b", True, True)] * 10 + [("b", False, True)] * 10
    assert fairness(counted(large + small, minimum=10)) == pytest.approx(
        fairness(counted(large, minimum=10)), nan_ok=True
    )
    assert fairness(counted(large, minimum=10)).opportunity_difference == 0.5
    assert math.isnan(fairness(counted(large, minimum=10)).false_positive_difference)


@pytest.mark.parametrize("groups", [[], [group("a", 0.5, 0.5, 0.5, 0.5)]])
def test_fewer_than_two_groups_have_no_distance(groups):
    assert all(math.isnan(figure) for figure in fairness(groups))


def test_where_no_group_gets_a_positive_answer_they_are_alike_and_have_no_ratio():
    found = fairness([group("a", 0.0), group("b", 0.0)])
    assert found.parity_difference == 0
    assert math.isnan(found.parity_ratio)


@given(rows)
def test_a_mixture_of_groups_never_makes_them_look_further_apart(labels):
    apart, mixed = fairness(counted(labels)), fairness(counted(labels, most=2))
    for name, narrow in mixed._asdict().items():
        wide = getattr(apart, name)
        if not math.isnan(narrow):
            assert narrow >= wide if name == "parity_ratio" else narrow <= wide


def test_what_is_counted_survives_a_snapshot():
    sealer, slices = Sealer(b"s" * 32), Slices(("group",), minimum=1)
    slices.update_many([["a"]], [True], [False])
    kept = sealer.open_state(sealer.seal_state(slices))
    kept.update_many([["a"]], [True], [True])
    assert kept.rates("group") == [SliceRates("a", 2, 1.0, 1.0, 1.0, 0.5)]
