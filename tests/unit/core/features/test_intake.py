"""The intake: each record becomes an item or a dead letter."""

from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.batch import Question, Update
from flows.core.features.intake import Intake
from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Number, Text, Time

NOW = 1_357_035_300_000
EVENTS = Decoder("id", "at", {"id": Text(), "at": Time()})
ARRIVALS = Decoder("id", "at", {"id": Text(), "at": Time(), "delay": Number()})


def intake(state: dict | None = None, lateness: int = 1_000) -> Intake:
    decoders = {"flights": EVENTS, "arrivals": ARRIVALS}
    return Intake(decoders, "flights", "p.models", "p.dead-letters", ["arrivals"], lateness, state)


SEEN = {"seen": {"flights": ["seen"], "arrivals": ["seen"]}, "newest": {}, "next": {}, "moments": [0]}


def record(topic: str, value: bytes, offset: int = 0) -> Record:
    return Record(topic, 3, offset, NOW, b"\x00key", value, ())


def event(event_id: str, offset: int = 0) -> Record:
    return record("flights", orjson.dumps({"id": event_id, "at": NOW}), offset)


def arrival(event_id: str, offset: int = 0) -> Record:
    return record("arrivals", orjson.dumps({"id": event_id, "at": NOW, "delay": 1}), offset)


def test_events_become_questions_and_source_records_updates_in_the_order_of_the_batch():
    records = [arrival("b"), event("a"), arrival("a"), event("b")]
    batch = intake().take(records)
    assert [(type(item), item.id, item.time) for item in batch.items] == [
        (Update, "b", NOW),
        (Question, "a", NOW),
        (Update, "a", NOW),
        (Question, "b", NOW),
    ]
    assert batch.items[0].stream == "arrivals"
    assert batch.records == [records[1], records[3]]
    assert batch.dead == []


def test_a_record_of_the_models_topic_keeps_its_place_unread():
    model = record("p.models", b"anything at all")
    batch = intake().take([event("a"), model, event("b")])
    assert batch.models == [(1, model)]
    assert len(batch.records) == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record("flights", b"\xff\x00 no json", 7), "not-json"),
        (record("flights", b'{"id": "a", "at": NaN}', 7), "not-json"),
        (record("flights", b'{"at": 1357035300000}', 7), "schema"),
        (record("flights", b'{"id": "a", "at": "1969-01-01T00:00:00Z"}', 7), "schema"),
        (record("flights", b'{"id": "a", "at": "2013-02-01T00:00:00Z"}', 7), "time"),
        (record("arrivals", b'{"id": "a", "at": 1357035300000, "delay": "much"}', 7), "schema"),
        (event("seen", 7), "duplicate"),
        (arrival("seen", 7), "duplicate"),
    ],
)
def test_a_bad_record_becomes_a_dead_letter_with_its_reason_and_its_own_bytes(bad, reason):
    batch = intake(SEEN).take([bad])
    (letter,) = batch.dead
    headers = dict(letter.headers)
    assert (batch.items, batch.questions, batch.records) == ([], [], [])
    assert (letter.topic, letter.key, letter.value) == ("p.dead-letters", b"\x00key", bad.value)
    assert headers["reason"].decode() == reason
    assert (headers["topic"], headers["partition"], headers["offset"]) == (bad.topic.encode(), b"3", b"7")


def test_a_bad_record_does_not_keep_those_around_it_from_their_answer():
    batch = intake().take([event("a"), record("flights", b"{"), event("b")])
    assert [item.id for item in batch.items] == ["a", "b"]
    assert len(batch.dead) == 1


def test_an_event_is_taken_in_once_also_when_it_comes_again_after_a_restart():
    first = intake()
    first.take([event("a")])
    restored = intake(first.snapshot())
    batch = restored.take([event("a"), event("b")])
    assert [item.id for item in batch.items] == ["b"]
    assert [dict(letter.headers)["reason"] for letter in batch.dead] == [b"duplicate"]


def test_an_event_whose_first_record_was_bad_is_no_duplicate():
    batch = intake().take([record("flights", b'{"id": "a", "at": 0}'), event("a")])
    assert [item.id for item in batch.items] == ["a"]


def test_a_source_record_may_share_the_id_of_an_event_and_is_taken_in_once_too():
    batch = intake().take([arrival("a"), event("a"), arrival("a")])
    assert [type(item) for item in batch.items] == [Update, Question]
    assert [dict(letter.headers)["reason"] for letter in batch.dead] == [b"duplicate"]


records_strategy = st.lists(
    st.one_of(
        st.builds(event, st.sampled_from("abc")),
        st.builds(arrival, st.sampled_from("abc")),
        st.builds(record, st.sampled_from(["flights", "arrivals", "p.models"]), st.binary()),
    ),
    max_size=20,
).map(lambda records: [r._replace(offset=offset) for offset, r in enumerate(records)])


@given(records_strategy)
def test_whatever_comes_in_as_many_go_out_and_every_dead_letter_is_told_from_the_log(records):
    batch = intake().take(records)
    assert len(batch.items) + len(batch.models) + len(batch.dead) == len(records)
    assert batch.questions == [item for item in batch.items if isinstance(item, Question)]
    assert len(batch.records) == len(batch.questions)
    assert batch.newest == max((item.time for item in batch.items), default=0)
    for letter in batch.dead:
        headers = dict(letter.headers)
        original = records[int(headers["offset"])]
        assert (letter.value, headers["topic"].decode()) == (original.value, original.topic)


@given(records_strategy, st.integers(1, 5))
def test_how_the_records_are_cut_into_batches_makes_no_difference(records, size):
    whole, cut = intake(), intake()
    batches = [cut.take(records[start : start + size]) for start in range(0, len(records), size)]
    batch = whole.take(records)
    assert [item for part in batches for item in part.items] == batch.items
    assert [model for part in batches for _, model in part.models] == [model for _, model in batch.models]
    assert [letter for part in batches for letter in part.dead] == batch.dead
    assert cut.snapshot() == whole.snapshot()


@given(st.lists(st.sampled_from("abcd")))
def test_each_id_asks_once_and_every_other_time_is_a_duplicate(ids):
    batch = intake().take([event(i, offset) for offset, i in enumerate(ids)])
    assert [item.id for item in batch.items] == list(dict.fromkeys(ids))
    reasons = Counter(dict(letter.headers)["reason"] for letter in batch.dead)
    assert reasons[b"duplicate"] == len(ids) - len(set(ids))


def timed(topic: str, event_id: str, time: int, offset: int = 0) -> Record:
    return record(topic, orjson.dumps({"id": event_id, "at": time, "delay": 1}), offset)


def test_a_record_behind_the_lateness_of_its_topic_is_a_dead_letter_and_one_within_it_counts():
    taking = intake(lateness=1_000)
    batch = taking.take(
        [
            timed("arrivals", "new", NOW),
            timed("arrivals", "just in time", NOW - 1_000, 1),
            timed("arrivals", "late", NOW - 1_001, 2),
            timed("flights", "another topic", NOW - 5_000, 3),
        ]
    )
    assert [item.id for item in batch.items] == ["new", "just in time", "another topic"]
    assert [dict(d.headers)["reason"] for d in batch.dead] == [b"late"]
    resumed = intake(orjson.loads(orjson.dumps(taking.snapshot())), lateness=1_000)
    assert len(resumed.take([timed("arrivals", "late", NOW - 1_001, 4)]).dead) == 1


def test_a_question_knows_how_far_the_streams_were_read_and_has_a_moment_of_its_own():
    taking = intake()
    before = taking.take([arrival("a", 41), event("q1"), arrival("b", 42), event("q2")])
    resumed = intake(orjson.loads(orjson.dumps(taking.snapshot())))
    asked = [
        item for item in (*before.items, *resumed.take([event("q3")]).items) if isinstance(item, Question)
    ]
    assert [(q.read, q.moment - 1000 * NOW) for q in asked] == [((42,), 1), ((43,), 2), ((43,), 3)]


def test_an_event_whose_topic_is_a_stream_of_features_is_taken_in_before_it_is_asked():
    decoders = {"flights": EVENTS}
    batch = Intake(decoders, "flights", "m", "d", ["flights"], 0).take([event("a", 7)])
    (question,) = batch.items
    assert (type(question), question.id, question.stream) == (Question, "a", "flights")
    assert question.read == (8,)


def replayed(letter: bytes) -> Record:
    return event("a")._replace(headers=(("published-at", b"1"), ("replayed", letter)))


def test_a_replayed_event_is_taken_in_once_although_its_id_is_known():
    taker = intake()
    taker.take([event("a"), event("a")])
    resumed = intake(orjson.loads(orjson.dumps(taker.snapshot())))
    first, again, other = (
        resumed.take([replayed(letter)]) for letter in (b"dead:f/0/1", b"dead:f/0/1", b"\xff")
    )
    assert [len(batch.records) for batch in (first, again, other)] == [1, 0, 1]
    assert dict(again.dead[0].headers)["reason"] == b"duplicate"


def test_what_was_taken_in_as_a_replay_is_a_duplicate_without_it():
    taker = intake()
    assert len(taker.take([replayed(b"dead:f/0/1"), event("a")]).records) == 1


events_only = st.lists(
    st.builds(
        lambda event_id, time, more: timed("flights", event_id, time)._replace(headers=more),
        st.text("abcdef", min_size=1, max_size=3),
        st.integers(NOW - 1_500, NOW + 500),
        st.sampled_from([(), (("published-at", b"1"),), (("replayed", b"dead:f/0/1"),)]),
    )
    | st.builds(record, st.just("flights"), st.sampled_from([b"{", b'{"id": 1}'])),
    max_size=12,
).map(lambda records: [r._replace(offset=offset) for offset, r in enumerate(records)])


@given(st.lists(events_only), st.sampled_from([[], ["flights"], ["arrivals", "flights", "others"]]))
def test_a_batch_of_events_is_taken_as_each_of_its_records_is(batches, streams):
    together, alone = (
        Intake({"flights": EVENTS}, "flights", "m", "d", streams, 1_000, None) for _ in range(2)
    )
    for records in batches:
        batch, each = together.take(records), [alone.take([r]) for r in records]
        assert batch.items == [item for part in each for item in part.items]
        assert batch.records == [r for part in each for r in part.records]
        assert batch.dead == [letter for part in each for letter in part.dead]
    assert together.snapshot() == alone.snapshot()


@pytest.mark.parametrize("odd", [None, event("7"), record("arrivals", b"{"), record("p.models", b"v2")])
def test_a_batch_of_several_topics_is_taken_as_each_of_its_records_is(odd):
    records = [make(str(number)) for number in range(9) for make in (arrival, event)]
    records[11:11] = [odd] if odd else []
    together, alone = intake(), intake()
    numbered = [r._replace(offset=offset) for offset, r in enumerate(records)]
    batch, each = together.take(numbered), [alone.take([r]) for r in numbered]
    assert batch.items == [item for part in each for item in part.items]
    assert batch.records == [r for part in each for r in part.records]
    assert batch.dead == [letter for part in each for letter in part.dead]
    assert [model for _, model in batch.models] == [model for part in each for _, model in part.models]
    assert together.snapshot() == alone.snapshot()


def test_an_id_is_forgotten_in_a_batch_as_it_is_in_the_log(monkeypatch):
    monkeypatch.setattr("flows.core.features.intake.DUPLICATE_WINDOW", 2)
    batch = intake().take([event(i) for i in "abcacb"])
    assert [item.id for item in batch.items] == ["a", "b", "c", "a", "b"]
