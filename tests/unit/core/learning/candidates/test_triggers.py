"""Triggers: an alarm, a schedule, a floor, a first search or a command, with an id that a replay repeats."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signals import CONCEPT_ALARM, changed

from flows.core.learning.candidates.triggers import (
    Measurement,
    MetricFloor,
    MetricTriggers,
    Trigger,
    TriggerKind,
    of_alarm,
    read_measurement,
    request,
)
from flows.core.stream.broker import Record
from flows.errors import InvalidRecord

HOUR = 3_600_000
START = 1_357_000_000_000


def at(hours: float, **recent: float | None) -> Measurement:
    return Measurement(START + round(hours * HOUR), "v1", recent)


def triggers(schedule: int | None = None, floor: MetricFloor | None = None, cool_down: int = 0):
    return MetricTriggers("p", schedule, floor, cool_down, window=100 * HOUR)


def test_an_alarm_of_concept_drift_triggers_a_training_since_the_change():
    assert of_alarm(CONCEPT_ALARM) == Trigger(
        "alarm",
        CONCEPT_ALARM.id,
        "v2",
        "the error rose from 0.2 to 0.35 (adwin)",
        CONCEPT_ALARM.since,
        CONCEPT_ALARM.time,
        "v1",
    )


@pytest.mark.parametrize(
    "change", [{"level": "warning"}, {"status": "resolved"}, {"kind": "feature", "detector": "psi"}]
)
def test_no_other_signal_triggers_a_training(change: dict):
    assert of_alarm(changed(CONCEPT_ALARM, **change)) is None


def test_a_schedule_counts_from_the_first_measurement_and_then_from_the_last_training():
    found = triggers(schedule=10 * HOUR)
    hours = [each for each in range(30) if found.measured(at(each))]
    assert hours == [10, 20]
    found.trained(START + 25 * HOUR)
    assert [each for each in range(30, 50) if found.measured(at(each))] == [35, 45]


def test_a_training_within_the_cool_down_puts_off_schedule_and_floor():
    floor = MetricFloor("ROCAUC", 0.7, is_score=True)
    found = triggers(schedule=2 * HOUR, floor=floor, cool_down=5 * HOUR)
    assert [each for each in range(12) if found.measured(at(each, ROCAUC=0.5))] == [5, 10]


def test_a_floor_triggers_a_training_only_while_the_recent_metric_is_worse():
    floor = MetricFloor("LogLoss", 0.5, is_score=False)
    found = triggers(floor=floor)
    losses = [0.4, 0.5, 0.51, None, 0.4]
    raised = [found.measured(at(hour, LogLoss=loss)) for hour, loss in enumerate(losses)]
    (trigger,) = filter(None, raised)
    assert raised.index(trigger) == 2
    assert (trigger.kind, trigger.why) == ("floor", "the recent LogLoss is 0.51, the floor is 0.5")
    assert (trigger.since, trigger.parent) == (START + 2 * HOUR - 100 * HOUR, "v1")


def labelled(hours: float, labels: int) -> Measurement:
    return at(hours)._replace(labels=labels)


def test_the_first_search_comes_once_when_its_labels_are_known_and_is_over_all_of_them():
    found = MetricTriggers("p", None, None, 0, window=HOUR, first=500)
    counts = (0, 499, 520, 700, 400, 600)  # the last two after a crash
    raised = [found.measured(labelled(hour, labels)) for hour, labels in enumerate(counts)]
    (trigger,) = filter(None, raised)
    assert raised.index(trigger) == 2
    assert (trigger.kind, trigger.since, trigger.parent) == ("first", 0, "v1")
    assert trigger.why == "the search on the first 520 labels"
    assert found.last == trigger.time == START + 2 * HOUR


def test_a_model_with_more_labels_than_those_of_the_first_search_has_none():
    found = MetricTriggers("p", None, None, 0, window=HOUR, first=500)
    assert [found.measured(labelled(hour, 500 + hour)) for hour in range(3)] == [None] * 3


@pytest.mark.parametrize(("window", "since"), [(0, 0), (HOUR, START)])
def test_a_command_trains_on_the_window_or_on_all_labels(window: int, since: int):
    found = MetricTriggers("p", None, None, 0, window)
    trigger = found.requested(at(1), "ada: new fraud")
    assert (trigger.kind, trigger.since, trigger.why) == ("command", since, "ada: new fraud")
    assert found.last == trigger.time == START + HOUR


def test_metrics_without_an_assessment_break_no_floor():
    found = triggers(floor=MetricFloor("ROCAUC", 0.7, is_score=True))
    assert [found.measured(at(hour)) for hour in range(3)] == [None] * 3


@given(
    st.sampled_from(["schedule", "floor", "command"]), st.integers(0, 10**12), st.integers(10**12, 2 * 10**12)
)
def test_the_id_of_a_request_is_that_of_its_cause(kind: TriggerKind, since: int, time: int):
    one = request("p", kind, "why", since, Measurement(time, "v1", {}))
    same = request("p", kind, "another reason", since, Measurement(time, "v9", {}))
    assert (one.id, one.name) == (same.id, same.name)
    assert one.id != request("q", kind, "why", since, Measurement(time, "v1", {})).id
    assert one.id != request("p", kind, "why", since, Measurement(time + 1, "v1", {})).id


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [
        ("alarm", "alarm", True),
        ("alarm", "schedule", True),
        ("floor", "schedule", True),
        ("schedule", "alarm", False),
        ("alarm", "command", False),
        ("alarm", "first", False),
        ("command", "alarm", False),
    ],
)
def test_a_newer_trigger_replaces_one_that_knows_no_more(newer: TriggerKind, older: TriggerKind, expected):
    of = {kind: Trigger(kind, kind, kind, "", 0, 0, "v1") for kind in (newer, older)}
    assert of[newer].replaces(of[older]) is expected


def metrics_record(body: object) -> Record:
    return Record("p.metrics", 0, 0, START, None, orjson.dumps(body), ())


def test_a_measurement_has_the_labels_and_the_champions_recent_metrics():
    recent = {"model": {"ROCAUC": 0.7, "LogLoss": None}, "majority": {"ROCAUC": 0.5}}
    body = {"time": START, "model": "v3", "labels": 7, "assessment": {"recent": {"metrics": recent}}}
    assert read_measurement(metrics_record(body)) == Measurement(START, "v3", recent["model"], 7)
    assert read_measurement(metrics_record({"time": START, "model": "v3", "labels": 7})).recent == {}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"time": "?", "model": "v1", "labels": 7},
        {"time": START, "model": "v1"},
        {"time": 1, "model": "v1", "labels": 7, "assessment": 7},
    ],
)
def test_what_are_no_metrics_is_refused(body: object):
    with pytest.raises(InvalidRecord, match="not metrics"):
        read_measurement(metrics_record(body))
