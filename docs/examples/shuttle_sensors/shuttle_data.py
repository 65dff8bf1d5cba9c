"""Readings of a space shuttle's nine sensors, 7 % of them anomalies: River's Shuttle (Statlog, UCI).

The data have no times; here the first reading is on 1 March 2025, followed by one per minute. Each label is
known twenty seconds after its reading. The detector learns without labels; they only score it.
"""

from dataclasses import dataclass

import orjson
from river import datasets

from flows import Outgoing, iso

START, SECOND = 1_740_787_200_000, 1000  # 1 March 2025, and a second, in milliseconds


@dataclass
class Readings:
    """Records in event-time order; `events` is the number of events."""

    events: int
    records: list[Outgoing]

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return iter(self.records)


def records(events=None):
    """Return the first `events` readings (5,000 by default), each with its label."""
    out = []
    for number, (sensors, truth) in enumerate(datasets.Shuttle().take(events or 5000)):
        read = START + number * 60 * SECOND
        known = read + 20 * SECOND
        of = {"reading_id": f"reading-{number}"}
        out += [
            record("readings", read, of | {"read_at": iso(read), "shuttle": "shuttle-1", **sensors}),
            record("reading_labels", known, of | {"known_at": iso(known), "anomaly": truth == 1}),
        ]
    return Readings(len(out) // 2, out)


def record(topic, time, payload):
    """Return a record with the reading's id as its key and the event time (ms) as its timestamp."""
    return Outgoing(topic, orjson.dumps(payload), payload["reading_id"].encode(), timestamp=time)
