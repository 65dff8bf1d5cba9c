"""What would have changed a score most: all replacements are tried."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flows.core.explaining.alternatives import Alternative, alternatives

Row = Mapping[str, Any]


def score(x: Row) -> float:
    return x["a"] ** 2 - 3 * x["b"] + (x["color"] == "red")


numbers = st.integers(-9, 9)
rows = st.fixed_dictionaries({"a": numbers, "b": numbers, "color": st.sampled_from(["red", "blue", None])})


@given(rows, st.lists(rows, min_size=1, max_size=8))
def test_each_feature_has_the_replacement_with_the_largest_change(row: Row, background: list[Row]) -> None:
    found = {each.feature: each for each in alternatives(score, row, background)}
    for name in row:
        changes = [abs(score({**row, name: other[name]}) - score(row)) for other in background]
        if max(changes):
            best = found[name]
            assert best.score == score({**row, name: best.value})
            assert best.change == best.score - score(row)
            assert abs(best.change) == max(changes)
        else:
            assert name not in found


@given(rows, st.lists(rows, min_size=1, max_size=8))
def test_the_largest_change_is_first(row: Row, background: list[Row]) -> None:
    sizes = [abs(each.change) for each in alternatives(score, row, background)]
    assert sizes == sorted(sizes, reverse=True)


def test_the_features_that_are_asked_about_stay_as_they_are() -> None:
    row = {"a": 1, "b": 2, "color": None}
    assert alternatives(score, row, [{"a": 1, "b": 4, "color": None}]) == [Alternative("b", 4, -11, -6)]
    assert row == {"a": 1, "b": 2, "color": None}
