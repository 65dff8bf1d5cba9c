"""Hourly flow of a water pipe in Italy over two months: River's WaterFlow, provided by Tecnojest s.r.l.

An hour's flow is known half an hour after its end.
"""

from dataclasses import dataclass
from itertools import pairwise

import orjson
from river import datasets

from flows import Outgoing, iso

HOUR, REPORTED = 3_600_000, 1_800_000  # an hour, and the delay of its measurement, in milliseconds
STEADY = 0.1  # litres per second


@dataclass
class Hours:
    """Records in event-time order; `events` is the number of events."""

    events: int
    records: list[Outgoing]

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return iter(self.records)


def records(events=None):
    """Return the first `events` hours (all 1,267 by default), with their flow and its movement."""
    count = events or 1267
    hours = [(row["Time"], flow) for row, flow in datasets.WaterFlow().take(count + 1)]
    out = [measured(*hours[0])]
    for (_, before), (began, flow) in pairwise(hours):
        time = round(began.timestamp() * 1000)
        known = time + HOUR + REPORTED
        movement = "rises" if flow > before + STEADY else "falls" if flow < before - STEADY else "stays"
        asked = {"hour_id": name(began), "began_at": iso(time), "pipe": "pipe-1", "hour": began.hour}
        label = {"hour_id": name(began), "known_at": iso(known), "movement": movement}
        out += [
            record("hours", time, asked),
            measured(began, flow),
            record("movements", known, label),
        ]
    return Hours(len(hours) - 1, sorted(out, key=lambda record: record.timestamp))


def measured(began, flow):
    """Return the record of an hour's flow."""
    time = round(began.timestamp() * 1000) + HOUR + REPORTED
    payload = {"hour_id": name(began), "measured_at": iso(time), "pipe": "pipe-1", "flow": flow}
    return record("measurements", time, payload)


def name(began):
    """Return the id of an hour: its start in local time, with the offset."""
    return f"pipe-1-{began.isoformat()}"


def record(topic, time, payload):
    """Return a record with the hour's id as its key and the event time (ms) as its timestamp."""
    return Outgoing(topic, orjson.dumps(payload), payload["hour_id"].encode(), timestamp=time)
