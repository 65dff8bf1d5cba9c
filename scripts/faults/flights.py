"""Real flights for scripts/chaos, with storms in the labels and bad records.

Each origin has its own partition, carriers and aircraft. So the features of an entity do not depend on the
relative progress of the partitions.
"""

from collections.abc import Callable, Iterator

import orjson
import pandas as pd

from flows.core.stream.broker import Outgoing
from flows.pipelines.flights_data import dataset, read_csv, schedule
from scripts.faults.chaos_pipeline import PARTITIONS

TURN = 2_500  # flights
STORM = 500  # flights; in every fourth block of this length the labels are inverted
_ORIGINS = (b"EWR", b"JFK", b"LGA")  # a flight's id ends with its origin
assert len(_ORIGINS) == PARTITIONS


def records(events: int) -> Iterator[Outgoing]:
    """Yield the records of the first `events` flights by time, with storms, and bad records among them."""
    return _records(_first(events), lambda number: number // STORM % 4 == 3)


def turning(events: int, turn: int = TURN) -> Iterator[Outgoing]:
    """Yield the records of numbered flights; of every second `turn` of them the labels are inverted."""
    flights = _first(events)
    return _records(flights.assign(flight=range(len(flights))), lambda number: number // turn % 2 == 1)


def _first(events: int) -> pd.DataFrame:
    return schedule(read_csv("flights.csv.zip"), read_csv("airports.csv"))[:events]


def _records(flights: pd.DataFrame, is_inverted: Callable[[int], bool]) -> Iterator[Outgoing]:
    own = {name: flights[name] + "-" + flights["origin"] for name in ("carrier", "tailnum")}
    inverted = {name.encode() for number, name in enumerate(flights["flight_id"]) if is_inverted(number)}
    for number, record in enumerate(dataset(flights.assign(**own))):
        record = record._replace(partition=_ORIGINS.index(record.key[-3:]))
        if record.topic == "flight_labels" and record.key in inverted:
            record = _corrected(record)
        yield record
        if number % 500 < 20:
            yield from _bad(record, number)


def _bad(record: Outgoing, number: int) -> Iterator[Outgoing]:
    """Yield records that become dead letters: a duplicate, a contradicting label, or invalid JSON."""
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
