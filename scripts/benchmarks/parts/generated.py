"""Measures what generated code saves: the windows against plain loops, in turns in one run.

The figures are CPU time per event; docs/decisions/generated-code.md quotes them.
"""

import random
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from flows.core.features import entity
from flows.core.features.plan import View
from flows.core.features.windows import exact
from flows.core.features.windows.methods import Needs
from flows.core.features.windows.sliding import Value, WindowState, windows_of
from flows.core.stream.broker import Record
from scripts.benchmarks.parts.features import BATCH, LATENESS, PLAN, Engine, transactions

EVENTS, RUNS = 20_000, 9
START = 1_522_540_800_000  # 2018-04-01


class PlainWindows(WindowState):
    """The windows with `add` and `ask` as loops over what the view needs."""

    __slots__ = ()
    needs: Needs
    by_window: list[tuple[int, list[int], list[tuple[int, Any, int]]]]

    def add(self, time: int, record_id: str, values: Any) -> Any:
        needs, seen, before = self.needs, self.seen, self.newest_record
        if time < before or record_id in seen or time <= self.newest - LATENESS - needs.reach:
            return self.add_other(time, record_id, values)
        self.times.append(time)
        for sums, (column, power) in zip(self.sums, needs.sums, strict=True):
            units = exact.fixed(values[column])
            sums.append(sums[-1] + (units if power == 1 else units * units))
        for kept, column in zip(self.kept, needs.kept, strict=True):
            kept.append(values[column])
        self.newest_record = time
        self.newest = max(self.newest, time)
        oldest = time - LATENESS
        seen[record_id] = time
        while seen[first := next(iter(seen))] < oldest:
            del seen[first]
        return "added"

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        needs, times, start = self.needs, self.times, 0
        self.newest = max(self.newest, time)
        stop, worth = len(times), self.WORTH_DROPPING
        if stop >= worth and times[worth - 1] <= self.newest - LATENESS - needs.reach:
            stop = self.drop_expired()
        end = time - needs.delay
        if stop and times[-1] > end:
            stop = bisect_right(times, end)
        answers: list[Value] = [None] * len(needs.features)
        for window, summed, features in self.by_window:
            start = bisect_right(times, end - window, start, stop)
            count = stop - start
            units = {which: self.sums[which][stop] - self.sums[which][start] for which in summed}
            for number, read, which in features:
                if read == "count":
                    answers[number] = count
                elif read == "sum":
                    answers[number] = exact.total(units[which])
                elif read == "mean":
                    answers[number] = exact.total(units[which]) / count if count else None
                else:
                    answers[number] = read(self, start, stop, -1, time)
        return answers


@lru_cache
def plain_windows(view: View) -> type[WindowState]:
    """Return the class of the view's windows without generated code."""
    generated = windows_of(view, LATENESS)
    needs = generated._layout.needs
    lengths = sorted({feature.window for feature in needs.features}, reverse=True)
    inside = {
        length: [(n, f.read, f.which) for n, f in enumerate(needs.features) if f.window == length]
        for length in lengths
    }
    by_window = [
        (length, sorted({which for *_, which in features} - {-1}), features)
        for length, features in inside.items()
    ]
    shared = {"__slots__": (), "_layout": generated._layout, "_lateness": LATENESS}
    return type("Plain", (PlainWindows,), {**shared, "needs": needs, "by_window": by_window})


def run_windows(make: Callable[[], WindowState], record: tuple[Any, ...]) -> list[list[Value]]:
    """Return the answers of a view's windows to `EVENTS` questions."""
    state = make()
    answers = []
    for number in range(EVENTS):
        at = START + number * 600_000
        state.add(at, f"tx{number}", record)
        answers.append(state.ask(at))
    return answers


def run_engine(records: Sequence[Record]) -> None:
    """Process the records with the feature engine."""
    engine = Engine()
    for start in range(0, len(records), BATCH):
        engine.take(records[start : start + BATCH])


def cases() -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Yield a name, the plain way and the generated one."""
    (view, _), record = PLAN.views, (random.Random(1).uniform(0, 200),)  # noqa: S311  made-up data
    plain, generated = plain_windows(view), windows_of(view, LATENESS)
    assert run_windows(plain, record) == run_windows(generated, record)
    yield (
        "add and ask of a view with 6 features in 3 windows",
        lambda: run_windows(plain, record),
        lambda: run_windows(generated, record),
    )
    records = list(transactions(EVENTS))

    def with_plain_windows() -> None:
        with patch.object(entity, "windows_of", lambda view, _: plain_windows(view)):
            run_engine(records)

    yield "decode, intake and 12 such features on 2 entities", with_plain_windows, lambda: run_engine(records)


def measure(work: Callable[[], object]) -> float:
    """Return the CPU time of an event in microseconds."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / EVENTS * 1e6


def main() -> int:
    """Print the table."""
    table = Table("us of CPU time per event", "plain", "generated", "ratio")
    for name, plain, generated in cases():
        turns = [(measure(plain), measure(generated)) for _ in range(RUNS)]
        slow, fast = (statistics.median(each) for each in zip(*turns, strict=True))
        table.add_row(name, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}")
    Console().print(table)
    return 0
