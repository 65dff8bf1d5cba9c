"""Predictions and their labels, with duplicates, early labels and invalid records among them."""

from datetime import timedelta
from random import Random

from made_flights import HOUR, MINUTE, NOON, label, prediction, record, served

from flows.core.stream.broker import Outgoing
from flows.policies import DriftPolicy, RetrainPolicy
from flows.runtime.engine import Engine

DECLARED = {
    "drift": DriftPolicy(warm_up=300, cool_down=timedelta(hours=1)),
    "retrain": RetrainPolicy(block=10, probation=0),
    "label_wait": timedelta(hours=6),
}
FLIGHTS = 900
CHANGE = 600  # from this flight on, the scores that are served are wrong
# ms between flights: a day holds 240 of them, and drift is looked for after 300 labels
EVERY = 6 * MINUTE


def world(running: Engine, flights: int = FLIGHTS, shadow: str = "") -> list[Outgoing]:
    """Return a prediction every 6 minutes, each with a label an hour later, and the records of `dirt`."""
    random = Random(11)
    records = []
    for number in range(flights):
        flight, time, truth = f"F{number:05}", NOON + number * EVERY, random.random() < 0.4
        answer = served(running, flight, time, truth, number < CHANGE, random)
        if shadow:
            close = random.uniform(0.01, 0.1)  # closer than the 0.2 of the champion at its best
            answer = answer._replace(shadows={shadow: 1 - close if truth else close})
        records += [prediction(running, answer), label(flight, time + HOUR, truth)]
    return sorted(records + dirt(running, random), key=lambda r: r.timestamp)


def dirt(running: Engine, random: Random) -> list[Outgoing]:
    early = served(running, "early", NOON + 50 * MINUTE, True, True, random)
    never = {"flight_id": "never", "known_at": NOON + 5, "late": True}
    return [
        label("F00003", NOON + 2 * HOUR, True),  # the second one, with another truth
        label("early", NOON + 40 * MINUTE, True),
        prediction(running, early),
        record("flight_labels", NOON + 5, never),
        record("flight_labels", NOON + 6, {"flight_id": "F00005", "known_at": NOON + 6, "late": "yes"}),
        Outgoing("flight_labels", b"\xff", timestamp=NOON + 7),
    ]
