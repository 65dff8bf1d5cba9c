"""Flights whose labels arrive after five minutes, with a concept that changes every half hour."""

from dataclasses import dataclass, replace
from math import cos, pi, sin

from made_flights import MINUTE, NOON, event, label
from river import linear_model

from flows.core.stream.broker import Outgoing
from flows.pipelines.flight_delays import pipeline as flights

APART = 2  # minutes from flight to flight
DELAY = 5  # minutes until a label
TURN = 30  # flights until the truth is as it was


def angle(x: dict) -> dict[str, float]:
    turn = x["minute_of_day"] * 2 * pi / 1440
    return {"sin": sin(turn), "cos": cos(turn)}


@dataclass
class Flights:
    events: int

    def __len__(self) -> int:
        return 2 * self.events

    def __iter__(self):
        rows = [row for number in range(self.events) for row in self._rows(number)]
        return iter(sorted(rows, key=lambda row: row.timestamp))

    def _rows(self, number: int) -> list[Outgoing]:
        flight, time = f"F{number:05}", NOON + number * APART * MINUTE
        late = number % TURN < TURN // 2
        return [event(flight, time), label(flight, time + DELAY * MINUTE + 1, late)]


def records(events: int | None = None) -> Flights:
    return Flights(events or 200)


pipeline = replace(
    flights,
    model=lambda: angle | linear_model.LogisticRegression(intercept_lr=0.3),
    dataset="made_minutes:records",
)
