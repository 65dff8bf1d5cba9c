"""Pending predictions: nothing is lost or changed in blocks, and their size follows what is pending."""

import pickle
import sys
import tracemalloc
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation import pending as module
from flows.core.evaluation.pending import PendingPredictions
from flows.core.evaluation.pending_block import ROWS, Pending
from flows.core.models.model import Prediction

finite = st.floats(allow_nan=False, allow_infinity=False)
jsonable = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=9), finite)
predictions = st.builds(
    Pending,
    st.builds(
        Prediction,
        st.text(),
        st.integers(-(2**62), 2**62),
        finite,
        st.text(),
        st.dictionaries(st.text(max_size=5), finite, max_size=2),
        st.lists(jsonable, max_size=4),
    ),
    finite,
    finite,
)


@pytest.fixture(autouse=True)
def few() -> Iterator[None]:
    """Few predictions stay out of the blocks, which are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NEWEST", 2)
        patch.setattr(module, "ROWS", 4)
        yield


def numbered(number: int, features: list[object] | None = None) -> Pending:
    return Pending(Prediction(f"e{number}", number, number / 7, "v1", {}, features or []), 0.2, 1.0)


@given(st.lists(predictions, min_size=6, max_size=6, unique_by=lambda each: each.prediction.id))
def test_what_was_in_a_block_comes_back_to_the_last_bit(served):
    waiting = PendingPredictions()
    for each in served:
        waiting.add(each)
    back = [waiting.pop(each.prediction.id) for each in served]
    assert repr(back) == repr(served)


operations = st.lists(
    st.tuples(st.sampled_from(["add", "add", "pop", "expire", "restart"]), st.integers(0, 99))
)


@given(operations, st.integers(0, 60))
def test_it_is_a_dictionary_in_the_order_of_arrival(steps, first):
    waiting = PendingPredictions()
    expected: dict[str, Pending] = {}
    for number in range(first):
        waiting.add(numbered(number))
        expected[f"e{number}"] = numbered(number)
    for kind, number in steps:
        event_id = f"e{number}"
        if kind == "add" and event_id not in expected:
            waiting.add(numbered(number))
            expected[event_id] = numbered(number)
        elif kind == "pop":
            assert waiting.pop(event_id) == expected.pop(event_id, None)
        elif kind == "expire" and expected:
            oldest = next(iter(expected.values()))
            assert waiting.oldest() == oldest
            assert waiting.pop(oldest.prediction.id) == expected.pop(oldest.prediction.id)
        elif kind == "restart":
            waiting = pickle.loads(pickle.dumps(waiting))  # noqa: S301  made here
        assert len(waiting) == len(expected)
        assert (event_id in waiting) == (event_id in expected)
    while (oldest := waiting.oldest()) is not None:
        assert waiting.pop(oldest.prediction.id) == expected.pop(oldest.prediction.id)
        assert not expected or oldest.prediction.id not in waiting
    assert not expected


def test_a_restart_does_not_change_the_state():
    random, straight, stopped = Random(1), PendingPredictions(), PendingPredictions()
    for number in range(2000):
        done = f"e{random.randrange(number + 1)}"
        for each in (straight, stopped):
            each.add(numbered(number))
            each.pop(done)
            each.oldest()
        if number % 97 == 0:
            stopped = pickle.loads(pickle.dumps(stopped))  # noqa: S301  made here
    assert stopped.__getstate__() == straight.__getstate__()


def test_a_million_that_wait_take_less_than_500_bytes_each(monkeypatch):
    """Features as of a flight, each value another, so that nothing but the digits can be compressed."""
    monkeypatch.setattr(module, "ROWS", ROWS)
    random, waiting, count = Random(7), PendingPredictions(), 4000
    names = [f"2013-07-04-UA-{number:05}-EWR" for number in range(count)]
    tracemalloc.start()
    for name in names:
        means = [random.uniform(0, 60) for _ in range(24)]
        counts = [random.randrange(500) for _ in range(24)]
        features = ["UA", 315, *means, *counts, *[None] * 24]
        waiting.add(Pending(Prediction(name, 10**12, random.random(), "v1", {}, features), 0.2, 1.0))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken / count + sys.getsizeof(names[0]) < 500


def test_where_one_of_a_hundred_keeps_waiting_a_snapshot_has_little_more_than_those():
    delay, size = 500, {1: 0, 100: 0}
    for every in size:
        waiting = PendingPredictions()
        for number in range(100_000 // (100 // every)):
            waiting.add(numbered(number))
            if (number - delay) % every:
                waiting.pop(f"e{number - delay}")
        size[every] = len(pickle.dumps(waiting))
    assert size[100] < 3 * size[1]
