"""The targets of the engine's speed, each for one figure of a run."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple

from rich.table import Table

from scripts.benchmarks.harness.figures import CPU, WALL, Figure, Key
from scripts.benchmarks.harness.report import number

Sense = Literal["at least", "at most"]


class Bound(NamedTuple):
    """A bound on the result of a figure: its ratio, or its value without a baseline."""

    key: Key
    sense: Sense
    bound: float

    def reached(self, figure: Figure) -> float:
        """Return what is compared with the bound."""
        return figure.result

    def wanted(self) -> str:
        """Return the bound as text."""
        how = f"x {self.key.baseline}" if self.key.baseline else self.key.unit
        return f"{self.sense} {number(self.bound)} {how}"

    def is_met(self, figure: Figure) -> bool:
        """Return whether the figure is within the bound."""
        reached = self.reached(figure)
        return reached >= self.bound if self.sense == "at least" else reached <= self.bound


class ValueBound(Bound):
    """A bound on our own value of a figure that has a baseline too."""

    def reached(self, figure: Figure) -> float:
        """Return what is compared with the bound."""
        return median(figure.ours)

    def wanted(self) -> str:
        """Return the bound as text."""
        return f"{self.sense} {number(self.bound)} {self.key.unit}"


def _ratios(work: str, unit: str, sense: Sense, bounds: Mapping[str, float]) -> list[Bound]:
    return [Bound(Key(work, baseline, unit), sense, bound) for baseline, bound in bounds.items()]


def _values(unit: str, bounds: Mapping[str, float]) -> list[Bound]:
    return [Bound(Key(work, "", unit), "at most", bound) for work, bound in bounds.items()]


_QUIX = "Quix Streams"
_MS_AT_EPOCH = "longest at the end of an epoch"
TARGETS: Sequence[Bound] = [
    *_ratios("predict, River's scorer", CPU, "at least", {"bare loop": 0.55, _QUIX: 3, "stock Bytewax": 1.3}),
    *_ratios("predict, compiled scorer", CPU, "at least", {"bare loop": 1, _QUIX: 5}),
    *_ratios("learn", CPU, "at least", {"bare loop": 0.6, _QUIX: 2.5}),
    *_ratios("12 windows on 2 entities, predict flow", CPU, "at least", {"loop by hand": 0.7}),
    *_ratios("flights, all flows", "ms of CPU time a flight", "at most", {"63b7a9a": 0.4}),
    *_ratios("forest of 10 trees: predict", CPU, "at least", {"bare loop": 0.95}),
    *_ratios("forest of 10 trees: learn", CPU, "at least", {"bare loop": 0.95}),
    *_ratios("backtest of the cards", "s of CPU time", "at most", {"the model alone": 1.6}),
    *_ratios("1,000 events/s, p50", "ms", "at most", {_QUIX: 0.65}),
    *_ratios("1,000 events/s, p99", "ms", "at most", {_QUIX: 0.8}),
    *_ratios("1,000 events/s under load, p50", "ms", "at most", {_QUIX: 0.65}),
    *_ratios("1,000 events/s under load, p99", "ms", "at most", {_QUIX: 0.8}),
    *_values("ms", {f"1,000 events/s, {_MS_AT_EPOCH}": 10}),
    *_ratios("1,000 events/s, CPU", "s of CPU time for 30,000 events", "at most", {_QUIX: 0.7}),
    *[
        target
        for work, baseline in (("infer", "FastAPI"), ("events?wait", "FastAPI, own loop"))
        for connections in ("1 connection", "16 connections")
        for share in ("p50", "p99")
        for target in _ratios(f"{work}, {connections}, {share}", "ms", "at most", {baseline: 1.3})
    ],
    *_values("% of a core", {"idle, all five flows, embedded log": 2, "idle, all five flows, Kafka": 2}),
    *_values("MB", {"memory, all five flows, embedded log": 500, "memory, all five flows, Kafka": 500}),
    *_values("MB", {"memory, predict, Kafka": 150, "memory, learn, Kafka": 150}),
    *[
        ValueBound(
            Key(f"start to first prediction, {broker}", "imports of Bytewax, River and confluent-kafka", "s"),
            "at most",
            1.5,
        )
        for broker in ("embedded log", "Kafka")
    ],
    *_ratios("predict with two processes, embedded log", WALL, "at least", {"one process": 1.7}),
    *_ratios("predict with two processes, Kafka", WALL, "at least", {"one process": 1.7}),
    *_ratios("predict, 10 x entities", "us of CPU time an event", "at most", {"10,000 entities": 1.15}),
    *_ratios("learn, 10 x pending labels", "us of CPU time an event", "at most", {"10,000 pending": 1.15}),
    *_ratios("predict, 10 x run length", "us of CPU time an event", "at most", {"the first tenth": 1.15}),
    *_ratios("learn, 10 x run length", "us of CPU time an event", "at most", {"the first tenth": 1.15}),
]


def rows(figures: Mapping[Key, Figure]) -> list[tuple[str, str, str, str]]:
    """Return the work, the result, the target and whether it is met, for each target that was measured."""
    found = []
    for target in TARGETS:
        if figure := figures.get(target.key):
            met = "yes" if target.is_met(figure) else "no"
            found.append((target.key.work, number(target.reached(figure)), target.wanted(), met))
    return found


def table(figures: Mapping[Key, Figure]) -> Table:
    """Return the targets and what was reached."""
    shown = Table("work", "reached", "target", "met")
    for row in rows(figures):
        shown.add_row(*row)
    return shown
