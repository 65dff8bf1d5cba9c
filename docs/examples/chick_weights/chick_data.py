"""The weights of 50 chicks on four feeds, from River's ChickWeights (Crowder and Hand, 1990).

The data have days but no dates; here day 0 is 1 March 2025.
"""

from dataclasses import dataclass

import orjson
from river import datasets

from flows import Outgoing, iso

MORNING, HOUR = 1_740_812_400_000, 3_600_000  # 1 March 2025, 07:00 UTC, and an hour, in milliseconds


@dataclass
class Weighings:
    """Records in event-time order; `events` is the number of events."""

    events: int
    records: list[Outgoing]

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return iter(self.records)


def records(events=None):
    """Return the first `events` weighings (all 578 by default), each with its weight twelve hours later."""
    out = []
    for chick, grams in datasets.ChickWeights().take(events or 578):
        asked = MORNING + chick["time"] * 24 * HOUR
        weighed = asked + 12 * HOUR
        of = {"weighing_id": f"chick-{chick['chick']}-day-{chick['time']}"}
        who = of | {"chick": f"chick-{chick['chick']}", "feed": f"feed-{chick['diet']}"}
        out += [
            record("weighings", asked, who | {"asked_at": iso(asked), "day": chick["time"]}),
            record("weights", weighed, who | {"weighed_at": iso(weighed), "grams": grams}),
            record("weight_labels", weighed, of | {"known_at": iso(weighed), "grams": grams}),
        ]
    return Weighings(len(out) // 3, sorted(out, key=lambda record: record.timestamp))


def record(topic, time, payload):
    """Return a record with the weighing's id as its key and the event time (ms) as its timestamp."""
    return Outgoing(topic, orjson.dumps(payload), payload["weighing_id"].encode(), timestamp=time)
