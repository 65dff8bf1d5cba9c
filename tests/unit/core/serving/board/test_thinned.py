"""Series in bounded memory."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flows.core.serving.board.thinned import Thinned


@given(st.integers(1, 2000), st.sampled_from([4, 10, 64]))
def test_the_items_are_few_in_order_evenly_spaced_and_end_with_the_last_one(count, most):
    series = Thinned[int](most)
    series.extend(range(count))
    items = series.items
    assert len(items) <= most + 1
    assert len(items) >= min(count, most // 2)
    assert (items[0], items[-1]) == (0, count - 1)
    steps = {after - before for before, after in pairwise(items[:-1])}
    assert len(steps) <= 1
