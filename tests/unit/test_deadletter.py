from hypothesis import given
from hypothesis import strategies as st

from flows.core.broker import Record
from flows.core.deadletter import REASONS, dead_letter

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
    assert (letter.key, letter.value) == (None, b"")


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
    }
