"""The feature engine against what one would write by hand for one task, in the same run.

The task is that of the Fraud Detection Handbook: for each card transaction the number and the mean amount of
the customer's in the last 1, 7 and 30 days, and the number and the share of frauds of the terminal's in as
many days that ended 7 days ago.
"""

import random
import statistics
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from math import isclose
from typing import Any

import orjson

from flows.core.broker import Record
from flows.core.decode import Decoder
from flows.core.features import Assembler, EntityFeatures, EntityKey, Row, Splitter
from flows.core.intake import Intake
from flows.core.plan import Aggregate, FeaturePlan, View
from flows.core.schema import Flag, Number, Text, Time, iso

BATCH = 1000
DAY = 86_400_000  # milliseconds
START = 1_522_540_800_000  # 2018-04-01
CUSTOMERS, TERMINALS, A_DAY = 5_000, 10_000, 9_600  # the Handbook's
LATENESS = 3 * 3_600_000


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


def transactions(count: int, seed: int = 1) -> Iterator[Record]:
    """Transactions of the Handbook's shape; one in a hundred comes up to an hour after its time."""
    rng = random.Random(seed)
    for number in range(count):
        now = START + number * DAY // A_DAY
        at = now - rng.randrange(3_600_000) if rng.random() < 0.01 else now
        payload = {
            "transaction_id": f"tx{number}",
            "at": iso(at),
            "customer_id": f"c{rng.randrange(CUSTOMERS)}",
            "terminal_id": f"t{rng.randrange(TERMINALS)}",
            "amount": round(rng.uniform(0, 200), 2),
            "fraud": rng.random() < 0.01,
        }
        yield Record("transactions", 0, number, now, None, orjson.dumps(payload), ())


class Engine:
    """Intake, split, windows and assembly as the predict flow runs them."""

    def __init__(self) -> None:
        decoders = {"transactions": Decoder("transaction_id", "at", FIELDS)}
        self._intake = Intake(decoders, "transactions", "m", "d", ["transactions"], LATENESS)
        self._splitter, self._assembler = Splitter(PLAN), Assembler(PLAN)
        self.entities: dict[EntityKey, EntityFeatures] = {}

    def take(self, records: Sequence[Record]) -> list[list[Any]]:
        batch = self._intake.take(records)
        parts = [self._of(key).run(steps) for key, steps in self._splitter.split(batch.items).items()]
        return self._assembler.assemble(len(batch.records), parts)

    def _of(self, key: EntityKey) -> EntityFeatures:
        features = self.entities.get(key)
        if features is None:
            features = self.entities[key] = EntityFeatures(key, PLAN.views_of(key.entity), LATENESS)
        return features


class ByHand:
    """The same in one plain loop: checks, duplicates, lateness, windows as lists with running sums."""

    def __init__(self) -> None:
        self.seen: OrderedDict[str, None] = OrderedDict()
        self.newest = 0
        self.customers: dict[str, Windows] = {}
        self.terminals: dict[str, Windows] = {}

    def take(self, records: Sequence[Record]) -> list[list[Any]]:
        vectors = []
        seen, customers, terminals = self.seen, self.customers, self.terminals
        for record in records:
            try:
                payload = orjson.loads(record.value)
            except orjson.JSONDecodeError:
                continue
            if type(payload) is not dict:
                continue
            id_, customer, terminal = (
                payload.get("transaction_id"),
                payload.get("customer_id"),
                payload.get("terminal_id"),
            )
            amount, fraud, at = payload.get("amount"), payload.get("fraud"), payload.get("at")
            if type(id_) is not str or not 0 < len(id_) <= 256:
                continue
            if type(customer) is not str or not 0 < len(customer) <= 256:
                continue
            if type(terminal) is not str or not 0 < len(terminal) <= 256:
                continue
            if type(amount) is not float and type(amount) is not int or not 0 <= amount <= 1e6:
                continue
            if type(fraud) is not bool or type(at) is not str:
                continue
            try:
                moment = datetime.fromisoformat(at)
            except ValueError:
                continue
            if moment.tzinfo is None:
                continue
            time = round(moment.timestamp() * 1000)
            if not 946_684_800_000 <= time < 4_102_444_800_000 or time > record.timestamp + DAY:
                continue
            if id_ in seen:
                continue
            if time > self.newest:
                self.newest = time
            elif time < self.newest - LATENESS:
                continue
            seen[id_] = None
            if len(seen) > 50_000:
                seen.popitem(last=False)
            of_customer = customers.get(customer)
            if of_customer is None:
                of_customer = customers[customer] = Windows(0)
            of_terminal = terminals.get(terminal)
            if of_terminal is None:
                of_terminal = terminals[terminal] = Windows(7 * DAY)
            vectors.append(of_customer.take(time, amount) + of_terminal.take(time, fraud))
        return vectors


class Windows:
    """Count and mean of three windows that end `delay` ms ago."""

    __slots__ = ("delay", "newest", "starts", "stop", "sums", "times", "values")

    def __init__(self, delay: int) -> None:
        self.delay = delay
        self.newest = 0
        self.times: list[int] = []
        self.values: list[float] = []
        self.stop = 0
        self.starts = [0, 0, 0]
        self.sums = [0.0, 0.0, 0.0]

    def take(self, time: int, value: float) -> list[Any]:
        """Add the value, and answer as of its time."""
        times, values, sums, starts = self.times, self.values, self.sums, self.starts
        if time < self.newest:
            return self.take_late(time, value)
        self.newest = time
        times.append(time)
        values.append(value)
        end, stop = time - self.delay, self.stop
        while stop < len(times) and times[stop] <= end:
            entering = values[stop]
            sums[0] += entering
            sums[1] += entering
            sums[2] += entering
            stop += 1
        self.stop = stop
        answer: list[Any] = []
        for window, length in enumerate((DAY, 7 * DAY, 30 * DAY)):
            start, oldest = starts[window], end - length
            while start < stop and times[start] <= oldest:
                sums[window] -= values[start]
                start += 1
            starts[window] = start
            count = stop - start
            answer.append(count)
            answer.append(sums[window] / count if count else None)
        if len(times) > 128 and times[63] < time - self.delay - 30 * DAY - LATENESS:
            self.drop(64)
        return answer

    def take_late(self, time: int, value: float) -> list[Any]:
        """The rare record out of order: put it where it belongs, and add up afresh."""
        times, values = self.times, self.values
        position = bisect_right(times, time)
        times.insert(position, time)
        values.insert(position, value)
        if position < self.stop:
            self.stop += 1
            for window, start in enumerate(self.starts):
                if position < start:
                    self.starts[window] += 1
                else:
                    self.sums[window] += value
        end = time - self.delay
        stop = bisect_right(times, end)
        answer: list[Any] = []
        for length in (DAY, 7 * DAY, 30 * DAY):
            start = bisect_right(times, end - length)
            answer += [stop - start, sum(values[start:stop]) / (stop - start) if stop > start else None]
        return answer

    def drop(self, count: int) -> None:
        """Forget the oldest records."""
        del self.times[:count], self.values[:count]
        self.stop -= count
        self.starts = [start - count for start in self.starts]


def speed(warm: int, events: int, runs: int) -> tuple[float, float]:
    """Events/s by hand and of the engine, the medians of `runs` each, taken in turns."""
    records = list(transactions(warm + events))
    rates: dict[type, list[float]] = {ByHand: [], Engine: []}
    for _ in range(runs):
        answers = []
        for kind, measured in rates.items():
            rate, vectors = _rate(kind(), records, warm)
            measured.append(rate)
            answers.append(vectors)
        _assert_equal(*answers)
    return statistics.median(rates[ByHand]), statistics.median(rates[Engine])


def _rate(engine: Any, records: list[Record], warm: int) -> tuple[float, list[list[Any]]]:
    for start in range(0, warm, BATCH):
        engine.take(records[start : start + BATCH])
    began = time.process_time()
    vectors = []
    for start in range(warm, len(records), BATCH):
        vectors += engine.take(records[start : start + BATCH])
    return (len(records) - warm) / (time.process_time() - began), vectors


def _assert_equal(one: list[list[Any]], other: list[list[Any]]) -> None:
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x == y or isclose(x, y, rel_tol=1e-9, abs_tol=1e-9), (a, b)
