"""The candidates of extremes, compared with the extreme of each window's values."""

from array import array
from bisect import bisect_left
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core.features.windows.extremes import Extremes

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "ask", "ask", "insert", "drop"]), st.integers(0, 9)), max_size=60
)


@pytest.mark.parametrize(("kind", "best"), [("max", max), ("min", min)])
@settings(max_examples=300, deadline=None)
@given(operations=OPERATIONS)
def test_the_first_candidate_in_a_window_has_its_extreme_also_after_inserts_drops_and_questions_of_the_past(
    kind: str, best: Callable[[array], float], operations: list[tuple[str, int]]
) -> None:
    values, extremes = array("d"), Extremes(kind)
    for operation, number in operations:
        if operation == "add":
            values.append(number)
        elif operation == "insert":
            at = min(number, len(values))
            values.insert(at, 5 - number)
            extremes.insert(at)
        elif operation == "drop":
            del values[:number]
            extremes.drop(number)
        else:
            stop = max(0, len(values) - number // 3)
            longest = max(0, stop - 2 * number)
            candidates = extremes.candidates(values, longest, stop)
            for start in range(longest, stop):
                assert values[candidates[bisect_left(candidates, start)]] == best(values[start:stop])
