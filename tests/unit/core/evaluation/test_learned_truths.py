"""Learned truths: the last ones are known, also after a restart."""

import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation import learned_truths as module
from flows.core.evaluation.learned_truths import LearnedTruths


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEARNED_LIMIT", 10)
        patch.setattr(module, "ROWS", 4)
        yield


@given(st.lists(st.booleans() | st.floats(0, 1) | st.text(), max_size=40), st.sets(st.integers(0, 39)))
def test_the_last_truths_are_known_and_no_others_whenever_it_restarts(truths, restarts):
    learned = LearnedTruths()
    for number, truth in enumerate(truths):
        learned.add(f"e{number}", truth)
        if number in restarts:
            learned = pickle.loads(pickle.dumps(learned))  # noqa: S301  made here
        known = {event: learned.get(f"e{event}") for event in range(number + 1) if f"e{event}" in learned}
        first = max(0, number - 9)
        assert known == dict(enumerate(truths[first : number + 1], first))


def test_fewer_than_a_block_are_forgotten_too(monkeypatch):
    monkeypatch.setattr(module, "LEARNED_LIMIT", 2)
    learned = LearnedTruths()
    for number in range(11):
        learned.add(f"e{number}", True)
        learned = pickle.loads(pickle.dumps(learned))  # noqa: S301  made here
    assert [number for number in range(11) if f"e{number}" in learned] == [9, 10]
