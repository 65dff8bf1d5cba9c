"""The feature engine against a loop written by hand for the same task, in the same run.

The task is that of the Fraud Detection Handbook. For each card transaction: the count and mean amount of the
customer's transactions in the last 1, 7 and 30 days; the count and fraud rate of the terminal's transactions
in windows of the same lengths that end 7 days earlier.
"""

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from math import isclose
from pathlib import Path
from typing import Any

import orjson

from flows.core.features.batch import Assembler, EntityKey, Question, Row, Splitter, Update
from flows.core.features.entity import EntityFeatures
from flows.core.features.intake import Intake
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Flag, Number, Text, Time
from flows.core.stream.times import iso
from flows.runtime.runner import tune_garbage_collection
from scripts.benchmarks.harness.figures import CPU, Figure
from scripts.benchmarks.parts.by_hand import DAY, LATENESS, ByHand, Windows

BATCH = 1000
BY_HAND = "loop by hand"
TOUCHED = 10_000  # entities whose events are measured, at each size
START = 1_522_540_800_000  # 2018-04-01
CUSTOMERS, TERMINALS, A_DAY = 5_000, 10_000, 9_600  # as in the Handbook


def _aggregates(column: str) -> tuple[Aggregate, ...]:
    return tuple(
        Aggregate(f"{function}_{days}d", function, column if function == "mean" else "", days * DAY)
        for days in (1, 7, 30)
        for function in ("count", "mean")
    )


PLAN = FeaturePlan(
    "bench",
    (
        View("customer_transactions", "customer_id", "transactions", _aggregates("amount")),
        View("terminal_transactions", "terminal_id", "transactions", _aggregates("fraud"), delay=7 * DAY),
    ),
    lateness=LATENESS,
)
FIELDS = {
    "transaction_id": Text(),
    "at": Time(),
    "customer_id": Text(),
    "terminal_id": Text(),
    "amount": Number(0, 1e6),
    "fraud": Flag(),
}


def transactions(
    count: int, customers: int = CUSTOMERS, terminals: int = TERMINALS, a_day: int = A_DAY
) -> Iterator[Record]:
    """Yield transactions as in the Handbook, `a_day` each day; 1 % of them are up to an hour late."""
    rng = random.Random(1)  # noqa: S311  made-up data
    for number in range(count):
        now = START + number * DAY // a_day
        at = now - rng.randrange(3_600_000) if rng.random() < 0.01 else now
        payload = {
            "transaction_id": f"tx{number}",
            "at": iso(at),
            "customer_id": f"c{rng.randrange(customers)}",
            "terminal_id": f"t{rng.randrange(terminals)}",
            "amount": round(rng.uniform(0, 200), 2),
            "fraud": rng.random() < 0.01,
        }
        yield Record("transactions", 0, number, now, None, orjson.dumps(payload), ())


class Engine:
    """Intake, splitting, windows and assembly, as in the predict flow."""

    def __init__(self, plan: FeaturePlan = PLAN) -> None:
        decoders = {"transactions": Decoder("transaction_id", "at", FIELDS)}
        self._intake = Intake(decoders, "transactions", "m", "d", ["transactions"], LATENESS)
        self._splitter, self._assembler, self._plan = Splitter(plan), Assembler(plan), plan
        self.entities: dict[EntityKey, EntityFeatures] = {}

    def take(self, records: Sequence[Record]) -> tuple[list[list[Any]], list[Row]]:
        batch = self._intake.take(records)
        return self.run(batch.items, len(batch.records))

    def run(self, items: Sequence[Any], questions: int) -> tuple[list[list[Any]], list[Row]]:
        """Return the feature vectors of the `questions` among the items, and the rows for the stores."""
        parts = [self._of(key).run(steps) for key, steps in self._splitter.split(items)]
        vectors = self._assembler.assemble(questions, parts)
        return vectors, [row for part in parts for row in part.rows]

    def _of(self, key: EntityKey) -> EntityFeatures:
        features = self.entities.get(key)
        if features is None:
            features = self.entities[key] = EntityFeatures(key, self._plan.views_of(key.entity), LATENESS)
        return features


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of the engine alone and of the online stores."""
    from scripts.benchmarks.parts import online  # not above: importing Feast takes seconds

    yield from growth([10_000, 100_000])  # first: memory freed before would distort it
    tune_garbage_collection()  # as the flows do
    yield speed(warm=360_000, events=events, runs=runs)
    yield from online.writes()
    yield from online.freshness(events=100)


def speed(warm: int, events: int, runs: int) -> Figure:
    """Return the events/s of CPU time of the engine and of the loop, for 12 windows on 2 entities.

    They take turns, and their vectors and rows must be equal.
    """
    records = list(transactions(warm + events))
    rates: dict[type, list[float]] = {ByHand: [], Engine: []}
    for _ in range(runs):
        values = []
        for kind, measured in rates.items():
            rate, *results = _rate(kind(), records, warm)
            measured.append(rate)
            values.append(_all_values(*results))
        _assert_equal(*values)
    return Figure("12 windows on 2 entities, engine alone", BY_HAND, CPU, rates[Engine], rates[ByHand])


def growth(sizes: Sequence[int]) -> Iterator[Figure]:
    """Yield the CPU time per event and the memory per entity for each number of entities.

    At all sizes each entity has 2 records within 12 hours of event time, and each of the 10,000 measured
    events has an entity of its own. The sizes take turns, so that other load on the machine affects all of
    them. Call it first in a process: memory that was freed before would distort the result.
    """
    measured = [_Size(size) for size in sizes]
    for turn in range(TOUCHED // BATCH):
        for size in measured:
            size.measure(turn)
    unit = "us of CPU time an event"
    for size in measured:
        yield Figure(f"6 windows, {len(size):,} entities", BY_HAND, unit, size.engine, size.by_hand, False)
    few = measured[0]
    for size in measured[1:]:
        grown = f"{len(size):,} entities, "
        for name, ours, before in (
            ("engine", size.engine, few.engine),
            (BY_HAND, size.by_hand, few.by_hand),
        ):
            yield Figure(grown + name, f"{len(few):,} entities", unit, ours, before, False)
    for size in measured:
        stored = [size.snapshot_bytes()]
        yield Figure(
            f"an entity in memory, {len(size):,} entities",
            "its snapshot",
            "bytes",
            [size.live],
            stored,
            False,
        )


class _Size:
    """The engine and the loop with `size` entities.

    `by_hand` and `engine` hold the CPU time per event (us) of each measured batch; `live` is the memory of
    one entity in the engine (bytes).
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.by_hand: list[float] = []
        self.engine: list[float] = []
        before = resident()
        self._engine = Engine(FeaturePlan("growth", PLAN.views[:1], lateness=LATENESS))
        for start in range(0, 2 * size, BATCH):
            self._engine.run([_update(n, n % size, size) for n in range(start, start + BATCH)], 0)
        self.live = (resident() - before) / size
        self._customers: dict[str, Windows] = {}
        for number in range(2 * size):
            self._take(_update(number, number % size, size))
        self._touched = random.Random(1).sample(range(size), TOUCHED)  # noqa: S311  as above

    def __len__(self) -> int:
        return self._size

    def measure(self, turn: int) -> None:
        """Process a batch of events of entities that had none since the warm-up."""
        numbers = range(turn * BATCH, (turn + 1) * BATCH)
        updates = [_update(2 * self._size + n, self._touched[n], self._size) for n in numbers]
        items = [Question(u.id, u.time, u.payload, stream=u.stream) for u in updates]
        began = time.process_time()
        self._engine.run(items, BATCH)
        between = time.process_time()
        for update in updates:
            self._take(update)
        ended = time.process_time()
        self.engine.append((between - began) * 1e6 / BATCH)
        self.by_hand.append((ended - between) * 1e6 / BATCH)

    def snapshot_bytes(self) -> float:
        """Return the mean snapshot size (bytes) of the measured entities."""
        keys = [EntityKey("customer_id", f"c{entity}") for entity in self._touched]
        return statistics.mean(len(self._engine.entities[key].snapshot()) for key in keys)

    def _take(self, update: Update) -> list[Any]:
        customer = update.payload["customer_id"]
        windows = self._customers.get(customer)
        if windows is None:
            windows = self._customers[customer] = Windows(0)
        return windows.take(update.time, update.payload["amount"])


def _update(number: int, entity: int, size: int) -> Update:
    at = START + number * DAY // (4 * size)
    return Update(
        "transactions", f"tx{number}", at, {"customer_id": f"c{entity}", "amount": number % 200 / 4}
    )


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _rate(engine: Any, records: list[Record], warm: int) -> tuple[float, list[list[Any]], list[Any]]:
    for start in range(0, warm, BATCH):
        engine.take(records[start : start + BATCH])
    began = time.process_time()
    vectors, rows = [], []
    for start in range(warm, len(records), BATCH):
        of_batch = engine.take(records[start : start + BATCH])
        vectors += of_batch[0]
        rows.append(of_batch[1])
    return (len(records) - warm) / (time.process_time() - began), vectors, rows


def _all_values(vectors: list[list[Any]], rows: list[list[Any]]) -> list[list[Any]]:
    """Return the vectors and the sorted rows of each batch, for comparison."""
    return vectors + [
        [*row[:3], *row[3]] for of_batch in rows for row in sorted(of_batch, key=lambda r: r[:3])
    ]


def _assert_equal(one: list[list[Any]], other: list[list[Any]]) -> None:
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x == y or isclose(x, y, rel_tol=1e-9, abs_tol=1e-9), (a, b)
