"""The flights as records: their times, labels and order, and the claims of the module's docstring."""

from importlib.metadata import PackageNotFoundError
from itertools import pairwise
from typing import Any

import orjson
import pandas as pd
import pytest
from real_flights import scheduled

from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.decode import Decoder
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError
from flows.pipelines import flights_data
from flows.pipelines.flight_delays import pipeline
from flows.pipelines.flights_data import dataset, events, labels, records

ORDER = ["departures", "arrivals", "flight_labels", "flights"]


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return scheduled()


@pytest.fixture(scope="module")
def first() -> list[Outgoing]:
    return list(dataset(scheduled()[:2_000]))


def payloads(log: list[Outgoing], topic: str) -> dict[str, dict[str, Any]]:
    loaded = [orjson.loads(record.value) for record in log if record.topic == topic]
    return {payload["flight_id"]: payload for payload in loaded}


def label(flights: pd.DataFrame, arr_delay: float | None) -> dict[str, Any]:
    """The label of the first flight, had it arrived with this delay."""
    return dict(labels(flights[:1].assign(arr_delay=pd.Series(arr_delay, flights[:1].index, float))).iloc[0])


def test_an_event_says_what_the_schedule_says(first: list[Outgoing]) -> None:
    assert payloads(first, "flights")["2013-01-01-UA-1545-EWR"] == {
        "flight_id": "2013-01-01-UA-1545-EWR",
        "scheduled_departure": "2013-01-01T10:15:00Z",
        "scheduled_arrival": "2013-01-01T14:19:00Z",
        "origin": "EWR",
        "destination": "IAH",
        "route": "EWR-IAH",
        "carrier": "UA",
        "flight_number": 1545,
        "tail_number": "N14228",
        "distance": 1400,
        "month": 1,
        "weekday": 1,
        "hour": 5,
        "minute_of_day": 315,
        "scheduled_minutes": 244,
    }


def test_departure_arrival_and_label_come_at_the_actual_times(first: list[Outgoing]) -> None:
    id_ = "2013-01-01-UA-1545-EWR"
    keys = {
        "flight_id": id_,
        "origin": "EWR",
        "carrier": "UA",
        "route": "EWR-IAH",
        "tail_number": "N14228",
    }
    departed, arrived = "2013-01-01T10:17:00Z", "2013-01-01T14:30:00Z"
    assert payloads(first, "departures")[id_] == {**keys, "departed_at": departed, "delay": 2}
    assert payloads(first, "arrivals")[id_] == {**keys, "arrived_at": arrived, "delay": 11}
    assert payloads(first, "flight_labels")[id_] == {"flight_id": id_, "known_at": arrived, "late": False}


@pytest.mark.parametrize(
    ("flight_id", "arrival", "minutes"),
    [
        ("2013-01-01-HA-51-JFK", "2013-01-02T01:30:00+00:00", 690),  # 09:00 to 15:30, Honolulu
        ("2013-07-01-HA-51-JFK", "2013-07-02T00:30:00+00:00", 630),  # 10:00 to 14:30; no summer time there
        ("2013-01-01-B6-739-JFK", "2013-01-02T08:45:00+00:00", 226),  # 23:59 to 04:45, Ponce: no zone given
        ("2013-03-09-AA-185-JFK", "2013-03-10T08:50:00+00:00", 375),  # 21:35 to 00:50, Los Angeles
        ("2013-03-09-B6-707-JFK", "2013-03-10T07:57:00+00:00", 222),  # 23:15 to 03:57; summer time begins
        ("2013-11-02-B6-1503-JFK", "2013-11-03T07:40:00+00:00", 221),  # 23:59 to 03:40; summer time ends
    ],
)
def test_scheduled_arrivals_are_read_from_the_destinations_clock(
    flights: pd.DataFrame, flight_id: str, arrival: str, minutes: int
) -> None:
    flight = events(flights[flights["flight_id"] == flight_id]).iloc[0]
    assert flight["scheduled_arrival"].isoformat() == arrival
    assert flight["scheduled_minutes"] == minutes


@pytest.mark.parametrize(("delay", "late"), [(-20, False), (15, False), (16, True), (300, True)])
def test_a_flight_is_late_when_it_arrives_more_than_15_minutes_late(
    flights: pd.DataFrame, delay: int, late: bool
) -> None:
    answer = label(flights, delay)
    assert answer["late"] == late
    assert answer["known_at"] == flights.iloc[0]["arrival"] + pd.Timedelta(minutes=delay)


def test_a_flight_that_never_arrives_is_late_as_soon_as_it_can_no_longer_be_on_time(
    flights: pd.DataFrame,
) -> None:
    answer = label(flights, None)
    assert answer["late"]
    assert answer["known_at"] == flights.iloc[0]["arrival"] + pd.Timedelta(minutes=15)


def test_every_record_is_valid_as_the_pipeline_declares_it(first: list[Outgoing]) -> None:
    streams = (pipeline.events, pipeline.labels, *pipeline.sources)
    decoders = {stream.topic: Decoder(stream.id, stream.time, stream.fields) for stream in streams}
    for record in first:
        at = record.timestamp
        decoded = decoders[record.topic].decode(Record(record.topic, 0, 0, at, record.key, record.value, ()))
        assert (decoded.id.encode(), decoded.time) == (record.key, at)
        declared = next(stream for stream in streams if stream.topic == record.topic).fields
        assert set(decoded.payload) == set(declared)


def test_records_are_in_event_time_order_and_what_is_known_comes_before_the_question(
    first: list[Outgoing],
) -> None:
    positions = [(record.timestamp, ORDER.index(record.topic)) for record in first]
    assert positions == sorted(positions)
    ties = {(a.topic, b.topic) for a, b in pairwise(first) if a.timestamp == b.timestamp}
    assert {("departures", "flights"), ("flight_labels", "flights")} <= ties


def test_a_limit_takes_the_first_flights_with_all_that_becomes_of_them(flights: pd.DataFrame) -> None:
    limited = records(500)
    log = list(limited)
    ids = set(flights["flight_id"][:500])
    assert (limited.events, len(limited)) == (500, len(log))
    assert {record.key.decode() for record in log} == ids
    assert payloads(log, "flight_labels").keys() == payloads(log, "flights").keys() == ids
    assert log == list(limited)


def test_the_data_are_as_the_module_describes_them(flights: pd.DataFrame) -> None:
    minute = pd.Timedelta(minutes=1)
    planned = (flights["arrival"] - flights["departure"]) // minute
    left = flights["departure"] + pd.to_timedelta(flights["dep_delay"], unit="min")
    arrived = flights["arrival"] + pd.to_timedelta(flights["arr_delay"], unit="min")
    ground = ((arrived - left) / minute - flights["air_time"]).dropna()
    cancelled = flights["dep_delay"].isna()
    assert (planned.min(), planned.max()) == (50, 700)
    assert (planned - planned.groupby(flights["dest"]).transform("median")).abs().max() <= 120
    assert (ground.min(), ground.max()) == (5, 235)
    assert not (arrived <= flights["departure"]).any()
    assert (flights["dep_delay"] < 0).sum() == 183_575
    assert (cancelled.sum(), (flights["arr_delay"].isna() & ~cancelled).sum()) == (8_255, 1_175)
    assert (flights["tailnum"].isna().sum(), (flights["tailnum"].isna() & ~cancelled).sum()) == (2_512, 0)


def test_times_are_written_so_that_the_engine_reads_them_back(first: list[Outgoing]) -> None:
    for record in first[:200]:
        if record.topic == "flights":
            assert milliseconds(orjson.loads(record.value)["scheduled_departure"]) == record.timestamp


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(flights_data, "distribution", missing)
    with pytest.raises(ConfigError, match=r"pip install 'driftline\[flights\]'"):
        records()
