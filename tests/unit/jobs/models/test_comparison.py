"""The events that two versions scored together: which ones count, and with which label."""

from dataclasses import replace

import orjson
from answered import encode
from made_flights import HOUR, MINUTE, NOON
from made_numbers import pipeline

from flows import iso
from flows.core.learning.comparison import PairedScores
from flows.core.models.model import Prediction
from flows.core.stream.broker import Outgoing, Record
from flows.jobs.models.comparison import CommonEvents

WAIT = 24 * HOUR


def on_topic(sent: Outgoing) -> Record:
    return Record(sent.topic, 0, 0, sent.timestamp or 0, sent.key, sent.value, sent.headers)


def scored(number: int, version: str = "v1", score: object = 0.25, **shadows: object) -> Record:
    """Return the prediction of an event a minute after the one before."""
    time = NOON + number * MINUTE
    prediction = Prediction(f"P{number}", time, score, version, shadows, [0.0])  # type: ignore[arg-type]
    return on_topic(encode("numbers.predictions", 0, prediction, "plan"))


def label(number: int, truth: bool, after: int = HOUR) -> Record:
    time = NOON + number * MINUTE + after
    body = orjson.dumps({"id": f"P{number}", "at": iso(time), "hit": truth})
    return on_topic(Outgoing("point_labels", body, timestamp=time))


def test_an_event_counts_if_both_scored_it_whichever_of_them_was_served() -> None:
    events = CommonEvents(pipeline, "v1", "v2")
    found = events.labelled(
        [
            scored(0, v2=0.5),
            scored(1, "v2", 0.75, v1=0.125),
            scored(2),
            scored(3, "v3", 0.5, v2=0.5),
            *(label(number, number == 0) for number in range(4)),
        ]
    )
    assert list(found) == [PairedScores(True, 0.25, 0.5), PairedScores(False, 0.125, 0.75)]
    assert events.number == 2


def test_an_event_has_one_label_which_may_come_first_and_not_after_the_wait() -> None:
    events = CommonEvents(pipeline, "v1", "v2")
    found = events.labelled(
        [
            label(0, True, after=0),
            scored(0, v2=0.5),
            label(0, False),
            scored(1, v2=0.5),
            label(1, True, after=WAIT + MINUTE),
        ]
    )
    assert list(found) == [PairedScores(True, 0.25, 0.5)]


def test_without_a_label_in_time_the_default_label_counts() -> None:
    events = CommonEvents(replace(pipeline, default_label=False), "v1", "v2")
    late = scored(2 * 24 * 60, v2=0.75)
    assert list(events.labelled([scored(0, v2=0.5), late])) == [PairedScores(False, 0.25, 0.5)]


def test_records_that_the_engine_did_not_write_are_skipped() -> None:
    events = CommonEvents(pipeline, "v1", "v2")
    foreign = scored(0)._replace(value=b"{")
    found = events.labelled(
        [foreign, scored(0, v2={"a": 1.0}), label(0, True), label(1, True)._replace(value=b"")]
    )
    assert list(found) == []
    assert events.number == 0
