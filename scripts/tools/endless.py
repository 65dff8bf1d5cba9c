"""Endless synthetic flights for the soak: entities come and go, and the cause of delays changes."""

import heapq
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any

import orjson

from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso

START = 1_356_998_400_000  # 2013-01-01
MINUTE = 60_000
DAY = 24 * 60 * MINUTE
AIRCRAFT = 1000  # in service; a tenth is replaced each day, so that old ones expire
LATE = 15  # minutes
CHANGES_EVERY = 7 * DAY  # the carriers that are late


def flights(a_day: int) -> Iterator[Outgoing]:
    """Yield the records of all topics in order of their time, with `a_day` flights a day."""
    random = Random(6)  # noqa: S311  made-up data
    waiting: list[tuple[int, int, Outgoing]] = []  # the number breaks ties, since records cannot be compared
    numbers = count()
    for number in count():
        time = START + number * DAY // a_day
        for record in _flight(number, time, random):
            heapq.heappush(waiting, (record.timestamp or 0, next(numbers), record))
        while waiting and waiting[0][0] <= time:
            yield heapq.heappop(waiting)[2]


def _flight(number: int, time: int, random: Random) -> Iterator[Outgoing]:
    origin, destination = random.choice(["JFK", "EWR", "LGA"]), f"D{random.randrange(70):02}"
    aircraft = (time - START) // DAY * (AIRCRAFT // 10) + random.randrange(AIRCRAFT)
    keys = {
        "flight_id": f"F{number:09}",
        "origin": origin,
        "carrier": random.choice(["AA", "B6", "DL", "EV", "UA", "US", "WN"]),
        "route": f"{origin}-{destination}",
        "tail_number": f"N{aircraft}",
    }
    delay = round(random.gauss(_mean_delay(time, keys), 15))
    left, landed = time + (delay + 20) * MINUTE, time + (delay + 180) * MINUTE
    yield _record("flights", time, keys | _schedule(number, time, destination))
    yield _record("departures", left, {**keys, "departed_at": iso(left), "delay": delay})
    yield _record("arrivals", landed, {**keys, "arrived_at": iso(landed), "delay": delay})
    label = {"flight_id": keys["flight_id"], "known_at": iso(landed), "late": delay > LATE}
    yield _record("flight_labels", landed, label)


def _mean_delay(time: int, keys: dict[str, str]) -> int:
    """Return the mean delay in minutes; after each change other carriers are late."""
    turn = (time - START) // CHANGES_EVERY
    return 25 if (keys["carrier"] < "E") == (turn % 2 == 0) else 5


def _schedule(number: int, time: int, destination: str) -> dict[str, Any]:
    minute = time % DAY // MINUTE
    return {
        "scheduled_departure": iso(time),
        "scheduled_arrival": iso(time + 180 * MINUTE),
        "destination": destination,
        "flight_number": number % 9999 + 1,
        "distance": 1000,
        "month": 1,
        "weekday": (time - START) // DAY % 7,
        "hour": minute // 60,
        "minute_of_day": minute,
        "scheduled_minutes": 180,
    }


def _record(topic: str, time: int, payload: dict[str, Any]) -> Outgoing:
    return Outgoing(topic, orjson.dumps(payload), payload["flight_id"].encode(), timestamp=time)
