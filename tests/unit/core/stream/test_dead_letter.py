from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import REASONS, DeadLetter, dead_letter, read, resent
from flows.errors import InvalidRecord

RECORD = Record("flights", 2, 4711, 1_357_035_300_000, b"UA-1", b"\xff\x00{", (("published-at", b"17"),))


def test_a_dead_letter_keeps_the_original_bytes_and_says_why_and_where_it_came_from():
    letter = dead_letter("flight_delays.dead-letters", RECORD, "not-json", "unexpected byte: 'ÿ'")
    assert (letter.topic, letter.key, letter.value) == (
        "flight_delays.dead-letters",
        b"UA-1",
        b"\xff\x00{",
    )
    assert letter.timestamp == RECORD.timestamp
    assert letter.headers == (
        ("id", b"dead:flights/2/4711"),
        ("reason", b"not-json"),
        ("detail", "unexpected byte: 'ÿ'".encode()),
        ("topic", b"flights"),
        ("partition", b"2"),
        ("offset", b"4711"),
        ("time", b"2013-01-01T10:15:00.000Z"),
        ("original-published-at", b"17"),
    )


def test_a_record_without_key_and_value_has_a_dead_letter_too():
    letter = dead_letter("d", RECORD._replace(key=None, value=None), "signature", "")
    assert (letter.key, letter.value) == (None, None)


@given(st.integers(-(2**63), 2**63 - 1))
def test_no_timestamp_that_a_producer_may_give_stops_a_dead_letter(timestamp):
    headers = dict(dead_letter("d", RECORD._replace(timestamp=timestamp), "time", "").headers)
    assert headers["time"]


def test_the_reasons_are_those_that_the_documentation_explains():
    assert set(REASONS) == {
        "not-json",
        "schema",
        "time",
        "late",
        "duplicate",
        "transform",
        "corrected",
        "unknown-event",
        "model",
        "undeliverable",
        "signature",
        "stale",
    }


def in_log(letter: Outgoing) -> Record:
    return Record(letter.topic, 1, 7, letter.timestamp, letter.key, letter.value, letter.headers)


def test_a_dead_letter_is_read_as_it_was_written():
    letter = read(in_log(dead_letter("d", RECORD, "schema", "why [not]: 'ÿ'")))
    assert letter == DeadLetter(
        place="1/7",
        id=b"dead:flights/2/4711",
        reason="schema",
        detail="why [not]: 'ÿ'",
        origin="flights",
        partition=2,
        offset=4711,
        time="2013-01-01T10:15:00.000Z",
        key=b"UA-1",
        value=b"\xff\x00{",
        headers=(("published-at", b"17"),),
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["id", "reason", "detail", "topic", "partition", "offset", "time", "x"]),
            st.binary(),
        )
    )
)
def test_whatever_else_stands_on_the_topic_is_no_dead_letter_and_crashes_nothing(headers):
    with suppress(InvalidRecord):
        letter = read(Record("d", 0, 0, 0, None, None, tuple(headers)))
        assert {"id", "reason", "detail", "topic", "partition", "offset", "time"} <= dict(headers).keys()
        assert letter.value == b""


@pytest.mark.parametrize("reason", ["schema", "late", "duplicate", "unknown-event"])
def test_the_record_is_sent_again_byte_for_byte_with_its_own_headers(reason):
    letter = read(in_log(dead_letter("d", RECORD, reason, "")))
    assert resent(letter) == Outgoing("flights", RECORD.value, RECORD.key, 2, None, RECORD.headers)


@pytest.mark.parametrize("reason", ["model", "transform"])
def test_the_intake_is_told_of_an_event_that_failed_behind_it(reason):
    first = resent(read(in_log(dead_letter("d", RECORD, reason, ""))))
    assert first.headers == (*RECORD.headers, ("replayed", b"dead:flights/2/4711"))
    in_topic = RECORD._replace(offset=5000, headers=first.headers)
    second = resent(read(in_log(dead_letter("d", in_topic, reason, ""))))
    assert second.headers == (*RECORD.headers, ("replayed", b"dead:flights/2/5000"))
