"""The task of the features benchmark, written by hand as one loop for this task only."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from flows.core.stream.broker import Record

DAY = 86_400_000  # milliseconds
LATENESS = 3 * 3_600_000


Row = tuple[str, str, int, list[Any]]  # for the stores: view, key, event time (ms), values


class ByHand:
    """Checks, duplicates, lateness, and windows as lists with running sums.

    Like the engine it returns, for each batch, a vector per transaction and a row per touched entity.
    """

    def __init__(self) -> None:
        self.seen: OrderedDict[str, None] = OrderedDict()
        self.newest = 0
        self.customers: dict[str, Windows] = {}
        self.terminals: dict[str, Windows] = {}

    def take(self, records: Sequence[Record]) -> tuple[list[list[Any]], list[Row]]:
        vectors = []
        customer_rows: dict[str, Row] = {}
        terminal_rows: dict[str, Row] = {}
        seen, customers, terminals = self.seen, self.customers, self.terminals
        for record in records:
            try:
                payload = orjson.loads(record.value)
            except orjson.JSONDecodeError:
                continue
            if type(payload) is not dict:
                continue
            id_, customer = payload.get("transaction_id"), payload.get("customer_id")
            terminal = payload.get("terminal_id")
            amount, fraud, at = payload.get("amount"), payload.get("fraud"), payload.get("at")
            if type(id_) is not str or not 0 < len(id_) <= 256:
                continue
            if type(customer) is not str or not 0 < len(customer) <= 256:
                continue
            if type(terminal) is not str or not 0 < len(terminal) <= 256:
                continue
            if (type(amount) is not float and type(amount) is not int) or not 0 <= amount <= 1e6:
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
            answer, other = of_customer.take(time, amount), of_terminal.take(time, fraud)
            vectors.append(answer + other)
            newest = of_customer.newest
            values = answer if time == newest else of_customer.answer()
            customer_rows[customer] = ("customer_transactions", customer, newest, values)
            newest = of_terminal.newest
            values = other if time == newest else of_terminal.answer()
            terminal_rows[terminal] = ("terminal_transactions", terminal, newest, values)
        return vectors, [*customer_rows.values(), *terminal_rows.values()]


class Windows:
    """Count and mean of three windows that end `delay` ms before the latest time."""

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
        """Add the value and return counts and means at its time."""
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
        """Insert a late record and recompute its answer."""
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

    def answer(self) -> list[Any]:
        """Return counts and means at the newest record."""
        answer: list[Any] = []
        for start, total in zip(self.starts, self.sums, strict=True):
            count = self.stop - start
            answer += [count, total / count if count else None]
        return answer

    def drop(self, count: int) -> None:
        """Drop the oldest records."""
        del self.times[:count], self.values[:count]
        self.stop -= count
        self.starts = [start - count for start in self.starts]
