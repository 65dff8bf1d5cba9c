"""Readings of a space shuttle's nine sensors, 7 % of them anomalies: River's Shuttle (Statlog, UCI).

The data have no times: the first reading is of 1 March 2025 here, and one follows each minute. Whether it was
an anomaly is known twenty seconds later. A detector learns without labels; they only judge it.
"""

from dataclasses import dataclass

import orjson
from river import datasets

from flows import Outgoing
from flows.core.stream.times import iso

START, SECOND = 1_740_787_200_000, 1000  # 1 March 2025, and a second, in milliseconds


@dataclass
class Readings:
    """The records in event-time order; `events` counts those that ask for a prediction."""

    events: int
    records: list[Outgoing]

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return iter(self.records)


def records(events=None):
    """The first `events` readings, by default 5,000, each with its label."""
    out = []
    for number, (sensors, strange) in enumerate(datasets.Shuttle().take(events or 5000)):
        read = START + number * 60 * SECOND
        known = read + 20 * SECOND
        of = {"reading_id": f"reading-{number}"}
        out += [
            record("readings", read, of | {"read_at": iso(read), "shuttle": "shuttle-1", **sensors}),
            record("reading_labels", known, of | {"known_at": iso(known), "anomaly": strange == 1}),
        ]
    return Readings(len(out) // 2, out)


def record(topic, time, payload):
    """A record with the reading's id as its key and the event time (ms) as its timestamp."""
    return Outgoing(topic, orjson.dumps(payload), payload["reading_id"].encode(), timestamp=time)
