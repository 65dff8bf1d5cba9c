import dataclasses

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.drift.levels import ColumnMove, Position, SliceMove
from flows.core.drift.signal import DriftSignal, signal_id
from flows.errors import InvalidRecord

SIGNAL = DriftSignal(
    id=signal_id(
        "flight delays", "concept", "adwin", "critical", "firing", ("arrivals", 0, 4711), 1_372_550_000_000
    ),
    pipeline="flight delays",
    model_version="m-12",
    detector="adwin",
    kind="concept",
    level="alarm",
    severity="critical",
    sequence=3,
    time=1_372_650_000_123,
    estimate_before=0.21,
    estimate_after=0.34,
    width=1_504,
    since=1_372_550_000_000,
    topic="arrivals",
    partition=0,
    offset=4711,
)


def test_a_signal_is_a_cloudevent_1_0_with_every_required_attribute():
    event = orjson.loads(SIGNAL.to_json())
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": SIGNAL.id,
        "source": "/driftline/flight%20delays",
        "type": "io.driftline.drift.concept",
        "subject": "m-12",
        "time": "2013-07-01T03:40:00.123Z",
        "datacontenttype": "application/json",
    }
    assert data["since"] == "2013-06-29T23:53:20.000Z"
    assert (data["topic"], data["partition"], data["offset"]) == ("arrivals", 0, 4711)


@given(
    time=st.integers(0, 4_102_444_799_999),
    since=st.integers(0, 4_102_444_799_999),
    before=st.floats(0, 1),
    after=st.floats(0, 1),
    offset=st.integers(0, 2**63 - 1),
    pipeline=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
)
def test_a_signal_read_back_equals_the_one_written(time, since, before, after, offset, pipeline):
    signal = dataclasses.replace(
        SIGNAL,
        id=signal_id(pipeline, "concept", "adwin", "critical", "firing", ("arrivals", 0, offset), since),
        pipeline=pipeline,
        time=time,
        since=since,
        estimate_before=before,
        estimate_after=after,
        offset=offset,
    )
    assert DriftSignal.from_json(signal.to_json()) == signal


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_its_data_has_status_labels_and_annotations_as_alertmanager_has_them(status):
    data = orjson.loads(dataclasses.replace(SIGNAL, status=status).to_json())["data"]
    assert data["status"] == status
    assert data["labels"] == {
        "alertname": "DriftlineDrift",
        "pipeline": "flight delays",
        "kind": "concept",
        "detector": "adwin",
        "severity": "critical",
    }
    assert data["annotations"].keys() == {"summary", "description"}
    assert data["annotations"]["summary"] == f"flight delays: concept drift is {status} (critical)"
    assert "0.21 become 0.34" in data["annotations"]["description"]


MOVED = dataclasses.replace(
    SIGNAL,
    columns=(
        ColumnMove("distance", 710.0, 905.5, psi=0.31, p_value=1e-9),
        ColumnMove("carrier", 0.25, 0.5, psi=0.27, p_value=1e-4, category="B6"),
        ColumnMove("delay", 0.0, 0.4, fault="null"),
    ),
    slices=(SliceMove("origin", "JFK", 0.2, 0.5, 300),),
)


def test_the_columns_and_slices_that_moved_most_are_read_back_and_told_to_people():
    assert DriftSignal.from_json(MOVED.to_json()) == MOVED
    data = orjson.loads(MOVED.to_json())["data"]
    assert data["columns"][2] == {"name": "delay", "before": 0.0, "after": 0.4, "fault": "null"}
    description = data["annotations"]["description"]
    for told in (
        "distance from 710 to 905.5 (PSI 0.31)",
        "carrier (B6) from 0.25 to 0.5 (PSI 0.27)",
        "delay (null) from 0 to 0.4",
        "where origin is JFK from 0.2 to 0.5",
    ):
        assert f"; {told}" in description


def test_the_end_of_a_change_has_the_labels_and_figures_of_its_signal_and_an_id_of_its_own():
    over = MOVED.resolved("m-13", SIGNAL.time + 5, Position("arrivals", 1, 9000))
    assert over.labels == MOVED.labels
    assert over.id != MOVED.id
    assert (over.status, over.model_version, over.time) == ("resolved", "m-13", SIGNAL.time + 5)
    assert (over.partition, over.offset, over.sequence) == (1, 9000, 3)
    assert (over.since, over.columns, over.slices) == (MOVED.since, MOVED.columns, MOVED.slices)
    assert DriftSignal.from_json(over.to_json()) == over


def test_every_attribute_is_of_a_type_that_cloudevents_have():
    event = orjson.loads(SIGNAL.to_json())
    assert all(type(value) is str for name, value in event.items() if name != "data")
    assert all(name.isalnum() and name.islower() for name in event)


def test_ids_differ_by_each_part_of_the_cause():
    cause = ("p", "concept", "adwin", "critical", "firing", ("labels", 0, 1), 7)
    other = ("q", "feature", "psi", "warning", "resolved", ("l", 0, 1), 8)
    others = [(*cause[:index], part, *cause[index + 1 :]) for index, part in enumerate(other)]
    others += [(*cause[:-2], place, 7) for place in (("labels", 1, 1), ("labels", 0, 2))]
    assert len({signal_id(*c) for c in [cause, *others]}) == 10


def _without(*path):
    def change(event):
        for name in path[:-1]:
            event = event[name]
        del event[path[-1]]

    return change


def _with(value, *path):
    def change(event):
        for name in path[:-1]:
            event = event[name]
        event[path[-1]] = value

    return change


ATTRIBUTES = ["specversion", "id", "source", "type", "subject", "time", "data"]
DATA = sorted(orjson.loads(SIGNAL.to_json())["data"].keys() - {"labels", "annotations"})


@pytest.mark.parametrize(
    "change",
    [_without(name) for name in ATTRIBUTES]
    + [_without("data", name) for name in DATA]
    + [_with(True, "data", name) for name in DATA]
    + [
        _with("0.3", "specversion"),
        _with("drift_0", "id"),
        _with("/driftline/other", "source"),
        _with("concept", "type"),
        _with("io.driftline.drift.feature", "type"),
        _with("io.driftline.drift.other", "type"),
        _with("yesterday", "time"),
        _with([], "data"),
        _with("other", "data", "detector"),
        _with("mild", "data", "severity"),
        _with("critical", "data", "level"),
        _with([{}], "data", "columns"),
        _with([{"name": "x", "before": 0, "after": "1"}], "data", "columns"),
        _with(["JFK"], "data", "slices"),
        _with("over", "data", "status"),
        _with(0.5, "data", "width"),
        _with(-1, "data", "offset"),
        _with(True, "data", "sequence"),
        _with("0.2", "data", "estimate_before"),
    ],
)
def test_anything_but_a_whole_signal_is_an_invalid_record(change):
    event = orjson.loads(SIGNAL.to_json())
    change(event)
    with pytest.raises(InvalidRecord) as caught:
        DriftSignal.from_json(orjson.dumps(event))
    assert caught.value.reason == "schema"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'"drift"', b'{"specversion": NaN}'])
def test_bytes_that_are_no_json_object_are_an_invalid_record(body):
    with pytest.raises(InvalidRecord) as caught:
        DriftSignal.from_json(body)
    assert caught.value.reason == "schema"


def test_attributes_that_other_tools_add_are_let_through():
    event = orjson.loads(SIGNAL.to_json()) | {"traceparent": "00-1-2-01"}
    assert DriftSignal.from_json(orjson.dumps(event)) == SIGNAL
