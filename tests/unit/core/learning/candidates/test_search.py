"""Successive halving: the worse half is dropped on each rung, and each rung has twice the rows."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.learning.candidates.search import (
    Configuration,
    SearchResult,
    best_of,
    configurations,
    halve,
    rung_rows,
)


def named(count: int) -> list[Configuration]:
    return [Configuration("m", (("at", number),)) for number in range(count)]


def search(
    losses: Sequence[float | None], rows: int = 10_000, most: int = 10**9
) -> tuple[SearchResult, list]:
    """Search among configurations of these losses; after `most` measurements the budget is spent."""
    found, asked = named(len(losses)), list[tuple[int, int]]()

    def loss_of(configuration: Configuration, size: int) -> float | None:
        number = found.index(configuration)
        asked.append((number, size))
        return losses[number]

    return halve(found, rows, loss_of, lambda: len(asked) > most), asked


def test_all_combinations_of_all_families_are_tried():
    found = configurations({"a": dict, "b": dict}, {"a": {"x": (1, 2), "y": ("u", "v")}})
    assert [each.name for each in found] == [
        "a(x=1, y='u')",
        "a(x=1, y='v')",
        "a(x=2, y='u')",
        "a(x=2, y='v')",
        "b()",
    ]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_with_losses_that_do_not_depend_on_the_rows_the_best_one_wins(losses: list[float]):
    result, _ = search(losses)
    assert result.winner is not None
    assert losses[dict(result.winner.arguments)["at"]] == min(losses)
    assert result.winner.name == named(len(losses))[losses.index(min(losses))].name


def test_without_halving_all_configurations_are_compared_once_on_the_same_rows():
    found, asked = named(3), list[tuple[str, int]]()

    def loss_of(configuration: Configuration, size: int) -> float:
        asked.append((configuration.name, size))
        return float(len(asked) != 2)

    result = best_of(found, 500, loss_of, lambda: False)
    assert asked == [(each.name, 500) for each in found]
    assert result.winner == found[1]
    assert [rung.rows for rung in result.rungs] == [500]


@given(st.integers(1, 64), st.integers(1, 10**6))
def test_the_rungs_double_up_to_all_rows(count: int, rows: int):
    rungs = rung_rows(count, rows)
    assert rungs == sorted(rungs)
    assert rungs[-1] == rows
    least = min(100, rows)
    assert all(after <= 2 * before + 1 or before == least for before, after in pairwise(rungs))


@given(st.integers(1, 64))
def test_the_better_half_goes_on_and_the_last_rung_compares_two(count: int):
    result, _ = search(list(range(count)))
    sizes = [len(rung.losses) for rung in result.rungs]
    assert sizes[0] == count
    assert all(after == (before + 1) // 2 for before, after in pairwise(sizes))
    assert sizes[-1] <= 2


def test_the_work_is_bounded_by_the_rows_times_the_rungs():
    result, asked = search(list(range(16)), rows=16_000)
    assert sum(size for _, size in asked) == 4 * 2 * 16_000  # four rungs of two times all rows
    assert len(result.rungs) == 4


def test_a_configuration_that_cannot_be_compared_is_dropped():
    result, asked = search([None, 0.7, 0.5, None])
    assert result.winner == named(4)[2]
    assert result.rungs[0].losses["m(at=0)"] is None
    assert {number for number, size in asked if size == 10_000} == {2}


def test_without_any_that_can_be_compared_none_wins():
    assert search([None, None])[0].winner is None


@pytest.mark.parametrize(("most", "rungs", "winner"), [(2, 0, None), (4, 1, 3), (5, 1, 3), (6, 2, 3)])
def test_when_the_budget_is_spent_the_best_of_the_last_complete_rung_wins(most, rungs, winner):
    result, asked = search([0.9, 0.8, 0.6, 0.5], most=most)
    assert len(result.rungs) == rungs
    assert result.winner == (None if winner is None else named(4)[winner])
    assert len(asked) <= most + 1


def test_what_was_tried_is_told_with_its_losses():
    assert search([0.6, 0.5], rows=500)[0].told() == {
        "winner": "m(at=1)",
        "rungs": [{"rows": 500, "losses": {"m(at=0)": 0.6, "m(at=1)": 0.5}}],
    }
