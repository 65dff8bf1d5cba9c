"""Synthetic flights, and predictions for them."""

from random import Random

import orjson
from answered import encode

from flows.core.models.model import Prediction
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso
from flows.runtime.engine import Engine

NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z
MINUTE = 60_000
HOUR = 60 * MINUTE


def record(topic: str, time: int, payload: dict) -> Outgoing:
    return Outgoing(topic, orjson.dumps(payload), payload["flight_id"].encode(), timestamp=time)


def keys(origin="JFK", carrier="AA", destination="LAX", tail="N1") -> dict:
    return {
        "origin": origin,
        "carrier": carrier,
        "route": f"{origin}-{destination}",
        "tail_number": tail,
    }


def event(flight: str, time: int, **of: str | None) -> Outgoing:
    """Return the event of a flight that is scheduled to leave at `time`."""
    return record("flights", time, event_payload(flight, time, **of))


def event_payload(flight: str, time: int, **of: str | None) -> dict:
    minute = time % (24 * HOUR) // MINUTE
    return {
        "flight_id": flight,
        "scheduled_departure": iso(time),
        "scheduled_arrival": iso(time + 5 * HOUR),
        **keys(**of),
        "destination": of.get("destination", "LAX"),
        "flight_number": 1,
        "distance": 2475,
        "month": 1,
        "weekday": 1,
        "hour": minute // 60,
        "minute_of_day": minute,
        "scheduled_minutes": 300,
    }


def departure(flight: str, time: int, delay: int, **of: str | None) -> Outgoing:
    payload = {"flight_id": flight, **keys(**of), "departed_at": iso(time), "delay": delay}
    return record("departures", time, payload)


def arrival(flight: str, time: int, delay: int, **of: str | None) -> Outgoing:
    payload = {"flight_id": flight, **keys(**of), "arrived_at": iso(time), "delay": delay}
    return record("arrivals", time, payload)


def label(flight: str, time: int, late: bool) -> Outgoing:
    return record("flight_labels", time, {"flight_id": flight, "known_at": iso(time), "late": late})


def traffic(flights: int) -> list[Outgoing]:
    """Return a flight a minute with its departure, arrival and label, in event-time order."""
    random = Random(7)
    records = []
    for number in range(flights):
        of = {
            "origin": random.choice(["JFK", "EWR", "LGA"]),
            "carrier": random.choice(["AA", "UA"]),
            "destination": random.choice(["LAX", "BOS"]),
            "tail": random.choice(["N1", "N2", "N3", None]),
        }
        flight, time, delay = f"F{number:05}", NOON + number * MINUTE, random.randint(-10, 60)
        records.append(event(flight, time, **of))
        records.append(departure(flight, time + delay * MINUTE, delay, **of))
        records.append(arrival(flight, time + (60 + delay) * MINUTE, delay, **of))
        records.append(label(flight, time + (60 + delay) * MINUTE, delay > 15))
    return sorted(records, key=lambda r: (r.timestamp, r.topic == "flights"))


def served(running: Engine, flight: str, time: int, truth: bool, right: bool, random: Random) -> Prediction:
    """A prediction for a flight whose outcome its features give away; the score may be `right` or wrong."""
    names = running.pipeline.feature_names(running.state.plan())
    values = {name: 0 if "count" in name else None for name in names}
    values |= {"carrier": "AA", "minute_of_day": 600}
    values["origin_departures__mean_delay_1h"] = random.gauss(30 if truth else -5, 10)
    score = 0.8 if truth == right else 0.2
    return Prediction(flight, time, score, "v1", {}, [values[name] for name in names])


def prediction(running: Engine, served: Prediction) -> Outgoing:
    return encode(running.pipeline.topic("predictions"), 0, served, running.state.plan().hash)
