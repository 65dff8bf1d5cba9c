"""Real flights for scripts/chaos: storms in the labels, entities that keep to one partition, bad records.

Each origin has a partition, and the carriers and aircraft of each are told apart: what an entity is then does
not depend on how far the partitions have come beside one another.
"""

from collections.abc import Iterator

import orjson

from flows.core.stream.broker import Outgoing
from flows.pipelines.flights_data import dataset, read_csv, schedule
from scripts.faults.chaos_pipeline import PARTITIONS

STORM = 500  # flights; the labels of every fourth so many are the wrong way round
_ORIGINS = (b"EWR", b"JFK", b"LGA")  # a flight's id ends with its origin
assert len(_ORIGINS) == PARTITIONS


def records(events: int) -> Iterator[Outgoing]:
    """The records of the first `events` flights, by time, and now and then a bad one."""
    flights = schedule(read_csv("flights.csv.zip"), read_csv("airports.csv"))[:events]
    own = {name: flights[name] + "-" + flights["origin"] for name in ("carrier", "tailnum")}
    storms = {name.encode() for number, name in enumerate(flights["flight_id"]) if number // STORM % 4 == 3}
    for number, record in enumerate(dataset(flights.assign(**own))):
        record = record._replace(partition=_ORIGINS.index(record.key[-3:]))
        if record.topic == "flight_labels" and record.key in storms:
            record = _corrected(record)
        yield record
        if number % 500 < 20:
            yield from _bad(record, number)


def _bad(record: Outgoing, number: int) -> Iterator[Outgoing]:
    """What becomes a dead letter: the same again, another truth, no JSON."""
    if record.topic == "flights":
        if number % 2:
            yield record
        else:
            yield record._replace(value=b"{no JSON", key=b"bad-" + record.key)
    elif record.topic == "flight_labels":
        yield _corrected(record) if number % 2 else record


def _corrected(label: Outgoing) -> Outgoing:
    value = orjson.loads(label.value)
    return label._replace(value=orjson.dumps({**value, "late": not value["late"]}))
