"""The label join: early, late, repeated and missing labels, and its bounds."""

import pickle
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation import label_join as module
from flows.core.evaluation import learned_truths
from flows.core.evaluation import pending as pending_module
from flows.core.evaluation.label_join import Joined, Label, LabelJoin, read_labels, valid_labels
from flows.core.evaluation.pending_block import Pending
from flows.core.models.model import Prediction
from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Flag, Text, Time
from flows.errors import InvalidRecord

WAIT = 1000


def pending(event_id: str, time: int = 0) -> Pending:
    return Pending(Prediction(event_id, time, 0.5, "v1", {}, []), 0.25, 1.0)


def label(event_id: str, time: int = 0, truth: bool = True) -> Label:
    return Label(event_id, time, truth, Record("labels", 0, 0, time, None, b"", ()))


def test_a_label_meets_the_prediction_that_was_served_for_its_event():
    join = LabelJoin(WAIT)
    served, truth = pending("a"), label("a")
    assert join.predicted(served) is None
    assert join.labelled(truth) == Joined(served, truth)
    assert len(join) == 0


def test_a_label_that_is_early_waits_for_its_prediction():
    join = LabelJoin(WAIT)
    early, served = label("a"), pending("a", time=5)
    assert join.labelled(early) is None
    assert join.predicted(served) == Joined(served, early)
    assert len(join) == 0
    assert expire(join, 10 * WAIT) == []


@pytest.mark.parametrize("truth", [True, False])
def test_a_second_label_is_a_duplicate_or_a_correction_before_and_after_its_prediction_came(truth):
    join = LabelJoin(WAIT)
    again, other = label("a", truth=truth), label("a", truth=not truth)
    assert join.repetition(again) is None
    join.labelled(again)
    assert (join.repetition(again), join.repetition(other)) == ("duplicate", "corrected")
    join.predicted(pending("a"))
    assert (join.repetition(again), join.repetition(other)) == ("duplicate", "corrected")


DECODER = Decoder("id", "ts", {"id": Text(), "ts": Time(), "y": Flag()})
VALUES = st.sampled_from(
    [b'{"id":"a","ts":5,"y":true}', b'{"id":"b","ts":5.0,"y":0}', b'{"id":"c"}', b"{", None]
)


@given(st.lists(VALUES))
def test_labels_read_together_are_those_read_alone(values):
    records = [Record("labels", 0, at, 5, None, value, ()) for at, value in enumerate(values)]
    together = read_labels(records, DECODER, "y")
    assert [each for each in together if isinstance(each, Label)] == list(valid_labels(records, DECODER, "y"))
    for record, each in zip(records, together, strict=True):
        if isinstance(each, InvalidRecord):
            with pytest.raises(InvalidRecord, match=re.escape(str(each))):
                DECODER.decode(record)
        else:
            assert each.record == record


def test_a_prediction_that_comes_again_changes_nothing():
    join = LabelJoin(WAIT)
    first = pending("a", time=1)
    join.predicted(first)
    assert join.predicted(pending("a", time=2)) is None
    assert join.labelled(label("a")).pending == first
    assert join.predicted(pending("a", time=3)) is None
    assert len(join) == 0


def expire(join: LabelJoin, now: int) -> list[Label]:
    """Both kinds, as the learner does."""
    join.give_up(now)
    return list(join.expire(now))


def test_a_prediction_expires_when_the_wait_is_over_and_not_before():
    join = LabelJoin(WAIT)
    join.predicted(pending("a", time=0))
    join.predicted(pending("b", time=1))
    assert expire(join, WAIT) == []
    assert (len(join), join.expired) == (2, 0)
    expire(join, WAIT + 1)
    assert (len(join), join.expired) == (1, 1)
    assert join.labelled(label("b")) is not None


def test_a_label_whose_event_never_came_is_given_back_when_the_wait_is_over():
    join = LabelJoin(WAIT)
    unknown = label("x", time=7)
    join.labelled(unknown)
    assert expire(join, WAIT + 7) == []
    assert expire(join, WAIT + 8) == [unknown]
    assert expire(join, WAIT + 8) == []
    assert join.expired == 0


def test_a_label_that_comes_after_its_prediction_expired_is_given_back_too():
    join = LabelJoin(WAIT)
    join.predicted(pending("a", time=0))
    expire(join, 2 * WAIT)
    late = label("a", time=2 * WAIT)
    assert join.labelled(late) is None
    assert expire(join, 3 * WAIT + 1) == [late]


def test_more_predictions_than_the_limit_are_given_up_oldest_first_and_counted():
    join = LabelJoin(WAIT, limit=3)
    for event_id in "abcde":
        join.predicted(pending(event_id))
    assert (len(join), join.expired, join.evicted) == (3, 2, 2)
    assert [i for i in "abcde" if join.labelled(label(i)) is not None] == ["c", "d", "e"]


def test_a_lower_limit_holds_from_the_next_prediction_on():
    join = LabelJoin(WAIT, limit=5)
    for event_id in "abcde":
        join.predicted(pending(event_id))
    join.limit = 2
    join.predicted(pending("f"))
    assert (len(join), join.evicted) == (2, 4)


def test_what_had_to_go_before_its_time_gets_no_default_label():
    join = LabelJoin(WAIT, limit=1)
    join.predicted(pending("a"))
    join.predicted(pending("b"))
    assumed = join.assume(2 * WAIT, False, label("x").record)
    assert [each.label.id for each in assumed] == ["b"]
    assert join.labelled(label("a")) is None  # its own label is not taken for a repetition of a guess
    assert (join.expired, join.assumed) == (1, 1)


def test_more_labels_without_their_event_than_the_limit_are_given_back_oldest_first(monkeypatch):
    monkeypatch.setattr(module, "EARLY_LIMIT", 3)
    join = LabelJoin(WAIT)
    for event_id in "abcde":
        join.labelled(label(event_id))
    assert [given_up.id for given_up in expire(join, 0)] == ["a", "b"]
    assert expire(join, 0) == []
    assert [i for i in "abcde" if join.predicted(pending(i)) is not None] == ["c", "d", "e"]


def test_the_ids_of_labels_learned_are_bounded(monkeypatch):
    monkeypatch.setattr(learned_truths, "LEARNED_LIMIT", 2)
    join = LabelJoin(WAIT)
    for event_id in "abc":
        join.predicted(pending(event_id))
        join.labelled(label(event_id))
    assert [join.repetition(label(event_id)) for event_id in "abc"] == [None, "duplicate", "duplicate"]


messages = st.lists(
    st.tuples(st.sampled_from(["prediction", "label"]), st.sampled_from("abcdef")), max_size=40
)


@given(messages)
def test_in_any_order_and_however_often_each_pair_is_joined_exactly_once(arrivals):
    join = LabelJoin(WAIT)
    joined: list[str] = []
    duplicates = 0
    for kind, event_id in arrivals:
        result: Any = None
        if kind == "prediction":
            result = join.predicted(pending(event_id))
        elif join.repetition(label(event_id)):
            duplicates += 1
        else:
            result = join.labelled(label(event_id))
        if result is not None:
            assert result.pending.prediction.id == result.label.id == event_id
            joined.append(event_id)
    predicted = {i for kind, i in arrivals if kind == "prediction"}
    labelled = [i for kind, i in arrivals if kind == "label"]
    assert sorted(joined) == sorted(predicted & set(labelled))
    assert duplicates == len(labelled) - len(set(labelled))
    assert len(join) == len(predicted - set(labelled))
    assert {given_up.id for given_up in expire(join, WAIT + 1)} == set(labelled) - predicted
    assert join.expired == len(predicted - set(labelled))


@given(messages, st.data())
def test_what_expires_meanwhile_is_joined_never_or_once_and_always_accounted_for(arrivals, data):
    join = LabelJoin(wait=5)
    joined = given_back = taken = 0
    predicted: set[str] = set()
    for now, (kind, event_id) in enumerate(arrivals):
        if kind == "prediction" and event_id not in predicted:
            predicted.add(event_id)
            joined += join.predicted(pending(event_id, now)) is not None
        elif kind == "label" and not join.repetition(label(event_id)):
            taken += 1
            joined += join.labelled(label(event_id, now)) is not None
        if data.draw(st.booleans()):
            given_back += len(expire(join, now))
    given_back += len(expire(join, len(arrivals) + 6))
    assert taken == joined + given_back
    assert len(predicted) == joined + join.expired
    assert len(join) == 0


@pytest.mark.parametrize("wait", [0, WAIT])
def test_nothing_expires_at_its_own_time(wait):
    join = LabelJoin(wait)
    join.predicted(pending("a", time=50))
    join.labelled(label("b", time=50))
    assert expire(join, 50) == []
    assert join.expired == 0


def test_it_is_due_when_a_prediction_or_an_early_label_expires_and_not_before():
    join = LabelJoin(WAIT)
    assert not join.is_due(10 * WAIT)
    join.predicted(pending("a", time=5))
    assert [join.is_due(5 + WAIT), join.is_due(6 + WAIT)] == [False, True]
    join.labelled(label("b", time=3))
    assert [join.is_due(3 + WAIT), join.is_due(4 + WAIT)] == [False, True]
    expire(join, 6 + WAIT)
    assert not join.is_due(10 * WAIT)


def test_a_default_label_is_assumed_when_the_wait_is_over_and_what_comes_then_repeats_or_corrects_it():
    join = LabelJoin(WAIT)
    for number, event_id in enumerate("abc"):
        join.predicted(pending(event_id, time=number))
    mover = label("x", time=WAIT + 2).record
    assert list(join.assume(WAIT, False, mover)) == []
    joined = list(join.assume(WAIT + 2, False, mover))
    assert [(j.pending.prediction.id, j.label.id, j.label.time, j.label.truth) for j in joined] == [
        ("a", "a", WAIT, False),
        ("b", "b", WAIT + 1, False),
    ]
    assert all(j.label.record is mover for j in joined)
    assert (join.assumed, join.expired, len(join)) == (2, 0, 1)
    assert join.repetition(label("a", truth=False)) == "duplicate"
    assert join.repetition(label("a", truth=True)) == "corrected"
    assert join.labelled(label("c")) is not None


@given(messages, st.data())
def test_with_a_default_label_each_prediction_is_joined_exactly_once(arrivals, data):
    join, joined = LabelJoin(wait=5), list[str]()
    for now, (kind, event_id) in enumerate(arrivals):
        result = None
        if kind == "prediction":
            result = join.predicted(pending(event_id, now))
        elif not join.repetition(label(event_id)):
            result = join.labelled(label(event_id, now))
        joined += [] if result is None else [event_id]
        if data.draw(st.booleans()):
            assumed = join.assume(now, False, label(event_id).record)
            joined += [each.pending.prediction.id for each in assumed]
    end = len(arrivals) + 6
    joined += [each.pending.prediction.id for each in join.assume(end, False, label("x").record)]
    assert sorted(joined) == sorted({event_id for kind, event_id in arrivals if kind == "prediction"})
    assert (len(join), join.expired) == (0, 0)


class Blocks:
    """A store of blocks in memory, with a file for each call of `append`."""

    def __init__(self) -> None:
        self.files: dict[int, list[bytes]] = {}
        self.used: Counter[int] = Counter()

    def append(self, contents: Sequence[bytes]) -> list[int]:
        number = len(self.files) + 1
        self.files[number] = list(contents)
        addresses = [number << 8 | at for at in range(len(contents))]
        self.used.update(addresses)
        return addresses

    def read(self, address: int) -> bytes:
        return self.files[self.file_of(address)][address & 255]

    def release(self, addresses: Iterable[int]) -> None:
        self.used.subtract(addresses)

    def sparse(self) -> frozenset[int]:
        return frozenset(number for number in self.files if number % 3 == 0)

    def file_of(self, address: int) -> int:
        return address >> 8

    def delete_unused(self) -> None:
        self.used = +self.used


def answers(join: LabelJoin, count: int) -> list[object]:
    """What it says of the labels of so many events."""
    labels = [label(f"e{number}") for number in range(count)]
    return [join.repetition(each) or join.labelled(each) for each in labels]


def test_a_snapshot_refers_to_what_is_in_the_store_and_is_restored_from_both(monkeypatch):
    monkeypatch.setattr(pending_module, "NEWEST", 2)
    monkeypatch.setattr(learned_truths, "ROWS", 4)
    store, random = Blocks(), Random(1)
    plain, stored = LabelJoin(WAIT), LabelJoin(WAIT)
    for number in range(400):
        done = label(f"e{random.randrange(number + 1)}")
        for join in (plain, stored):
            join.predicted(pending(f"e{number}"))
            if join.repetition(done) is None:
                join.labelled(done)
        if number % 50 == 49:
            stored.store(store)
            kept = pickle.dumps(stored)
            stored = pickle.loads(kept)  # noqa: S301  made here
            stored.load(store)
    assert len(kept) < len(pickle.dumps(plain)) / 2
    assert sum(store.used.values()) == len(+store.used)
    assert answers(stored, 400) == answers(plain, 400)


def test_a_store_counts_as_used_what_the_last_snapshot_refers_to(monkeypatch):
    monkeypatch.setattr(pending_module, "NEWEST", 2)
    store, join = Blocks(), LabelJoin(WAIT)
    for number in range(100):
        join.predicted(pending(f"e{number}"))
    join.store(store)
    assert sum(store.used.values()) > 0
    answers(join, 100)
    join.store(store)
    assert sum(store.used.values()) == 0
