"""Memory and time per pending prediction in the label join, against plain objects.

The predictions are synthetic, in the shape of the two shipped pipelines: 74 features of a flight, 15 of a
card transaction. Each case runs in its own process, so that its memory can be measured.
"""

import pickle
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any, NamedTuple

from flows.core.evaluation.label_join import Label, LabelJoin, Pending
from flows.core.models.model import Prediction
from flows.core.stream.broker import Record
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.parts.features import resident

START = 1_356_998_400_000  # 2013-01-01
UNITS = {"snapshot": "bytes", "keep": "us", "join": "us"}
RECORD = Record("labels", 0, 0, START, None, b"", ())


class Cost(NamedTuple):
    """Memory and snapshot size (bytes) per pending prediction; time to store and to join one (us)."""

    memory: float
    snapshot: float
    keep: float
    join: float


def _flight(rng: random.Random) -> list[Any]:
    times = [round(rng.gauss(12, 30), 4) for _ in range(24)]
    return ["UA", 315.0, *times, *[rng.randrange(500) for _ in range(24)], *[None] * 24]


def _card(rng: random.Random) -> list[Any]:
    amounts = [round(rng.uniform(0, 200), 2) for _ in range(6)]
    return [amounts[0], 0, 1, *amounts, *[rng.randrange(30) for _ in range(6)]]


SHAPES: dict[str, Callable[[random.Random], list[Any]]] = {"flight": _flight, "card": _card}


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of each shape with `events` pending predictions, over `runs` rounds."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for shape in SHAPES:
            costs = [pool.apply(cost, (shape, events)) for _ in range(runs)]
            plain = [pool.apply(plain_memory, (shape, events // 10)) for _ in range(runs)]
            name = f"pending {shape}"
            yield Figure(
                f"{name}, memory", "plain objects", "bytes", [each.memory for each in costs], plain, False
            )
            for what in ("snapshot", "keep", "join"):
                values = [getattr(each, what) for each in costs]
                yield Figure(f"{name}, {what}", "", UNITS[what], values, higher_is_better=False)


def cost(shape: str, count: int) -> Cost:
    """Measure the label join with `count` pending predictions."""
    rng, join, before = random.Random(1), LabelJoin(10**12, count), resident()  # noqa: S311  made-up data
    keeping = 0.0
    for number in range(count):
        pending = _pending(number, SHAPES[shape](rng))
        began = time.process_time()
        join.predicted(pending)
        keeping += time.process_time() - began
    memory = (resident() - before) / count
    snapshot = len(pickle.dumps(join, protocol=5)) / count
    some = range(0, count, 100)
    began = time.process_time()
    for number in some:
        join.labelled(Label(_id(number), START + count, True, RECORD))
    return Cost(memory, snapshot, keeping / count * 1e6, (time.process_time() - began) / len(some) * 1e6)


def plain_memory(shape: str, count: int) -> float:
    """Return the bytes per prediction of a dictionary of plain objects."""
    rng, before = random.Random(1), resident()  # noqa: S311  made-up data
    kept = {_id(number): _pending(number, SHAPES[shape](rng)) for number in range(count)}
    return (resident() - before) / len(kept)


def _pending(number: int, features: list[Any]) -> Pending:
    prediction = Prediction(_id(number), START + number, number % 997 / 997, "v1", {}, features)
    return Pending(prediction, 0.2371, 1.0)


def _id(number: int) -> str:
    return f"2013-07-04-UA-{number:07}-EWR"
