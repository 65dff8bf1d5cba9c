"""Latency at 1,000 events/s on Kafka, from sending an event until its prediction is read.

The work is that of `peers`. The programs take turns, first on a quiet machine and then with two processes
beside them that keep both cores busy at normal priority. The first third of the events is not measured.
All programs store their state, or commit their offsets, as often as Driftline does by default.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil

from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.probe import Probe, percentile
from scripts.benchmarks.harness.processes import cpu_seconds, running, wait_for
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.benchmarks.harness.ten_numbers import EVENTS
from scripts.benchmarks.peers import model
from scripts.benchmarks.peers.environments import PEERS
from scripts.benchmarks.peers.programs import Programs
from scripts.faults.servers import kafka

FOLDER = BENCH / "latency"
RATE = 1_000  # events/s
OURS = "Driftline"
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1.0}
CPU_OF = 30_000  # events, for the CPU time
WARM_UP = 10_000  # events
NEAR = 0.1  # seconds around the end of an epoch
PATIENCE = 10.0  # seconds for the last answers
EPOCH_SECONDS = "10"  # the default of DRIFTLINE_EPOCH_SECONDS
BUSY = (sys.executable, "-c", "while True: pass")
CONDITIONS = {f"{RATE:,} events/s": 0, f"{RATE:,} events/s under load": 2}  # the number of busy processes

Program = Callable[[], AbstractContextManager[psutil.Popen]]


class Latencies(NamedTuple):
    """The latencies (ms) by name, the longest near the end of an epoch, and the CPU time (s)."""

    by_name: dict[str, float]
    at_epoch: float
    cpu: float


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds of `events` events for each program and condition."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with kafka(FOLDER / "kafka") as url:
        site = ten_numbers.site(FOLDER / "project", url, {"DRIFTLINE_EPOCH_SECONDS": EPOCH_SECONDS})
        address = url.removeprefix("kafka://")
        programs = Programs(site.broker, address, EVENTS, FOLDER)
        found: dict[tuple[str, str], list[Latencies]] = {}
        for _ in range(runs):
            for condition, busy in CONDITIONS.items():
                _warm_up(site, programs, address, busy)
                for name, answers, program in _programs(site, programs):
                    measured = _measure(site, Probe(address, EVENTS, answers), program, events, busy)
                    found.setdefault((condition, name), []).append(measured)
    for condition in CONDITIONS:
        yield from _figures(
            condition, {peer.name: found[condition, peer.name] for peer in PEERS}, found[condition, OURS]
        )


def _warm_up(site: Site, programs: Programs, address: str, busy: int) -> None:
    """Let Kafka compile its code, which takes both cores for a while; the first program would pay for it."""
    _, answers, program = next(_programs(site, programs))
    _measure(site, Probe(address, EVENTS, answers), program, WARM_UP, busy)


def _programs(site: Site, programs: Programs) -> Iterator[tuple[str, str, Program]]:
    """Yield the name, the topic of answers and the program, one after the other, on an empty topic."""
    site.recreate([EVENTS])
    site.forget("predict")
    yield OURS, site.engine.pipeline.topic("predictions"), lambda: site.run("predict")
    for peer in PEERS:
        site.recreate([EVENTS])
        answers = programs.answers()
        yield (
            peer.name,
            answers,
            partial(programs.run, peer, answers, {"LEARN": "0", "PROGRESS_SECONDS": EPOCH_SECONDS}),
        )


def _measure(site: Site, probe: Probe, program: Program, events: int, busy: int) -> Latencies:
    step, begin = 1000 // RATE, time.time_ns() // 1_000_000
    first, *others = model.events(events + 1, step, begin)
    epochs = EpochEnds(site.engine.state.recovery_dir("predict"))
    with ExitStack() as stack:
        started = stack.enter_context(program())
        stack.enter_context(probe.reading())
        probe.send(first)
        wait_for(started, lambda: first["id"] in probe.arrived)
        for _ in range(busy):
            stack.enter_context(running(BUSY, FOLDER, {}, FOLDER / "busy.log"))
        spent = cpu_seconds(started)
        probe.send_all(others, RATE, epochs.look)
        _await_answers(probe, len(others) + 1)
        spent = cpu_seconds(started) - spent
    ids = [event["id"] for event in others[len(others) // 3 :]]
    values = probe.latencies(ids)
    by_name = {name: percentile(values, share) for name, share in SHARES.items()}
    near = [name for name in ids if epochs.is_near(probe.sent[name])]
    return Latencies(by_name, max(probe.latencies(near), default=0.0), spent * CPU_OF / events)


def _await_answers(probe: Probe, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(probe.arrived) < count and time.monotonic() < deadline:
        time.sleep(0.05)


class EpochEnds:
    """The times at which a flow stores its state, seen as changes of the files in its recovery store."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._changed = 0
        self._times: list[float] = []

    def look(self) -> None:
        """Note the time if a file has changed."""
        changed = max((file.stat().st_mtime_ns for file in self._store.glob("*")), default=0)
        if changed != self._changed:
            self._times.append(time.perf_counter())
        self._changed = changed

    def is_near(self, moment: float) -> bool:
        """Return whether a state was stored at about that time."""
        return any(abs(moment - time) < NEAR for time in self._times)


def _figures(condition: str, peers: dict[str, list[Latencies]], ours: list[Latencies]) -> Iterator[Figure]:
    def lower(work: str, unit: str, of: Callable[[Latencies], float]) -> Iterator[Figure]:
        for name, theirs in peers.items():
            yield Figure(f"{condition}, {work}", name, unit, [*map(of, ours)], [*map(of, theirs)], False)

    for name in SHARES:
        yield from lower(name, "ms", lambda found, name=name: found.by_name[name])
    yield from lower("CPU", f"s of CPU time for {CPU_OF:,} events", lambda found: found.cpu)
    pause = [found.at_epoch for found in ours]
    yield Figure(f"{condition}, longest at the end of an epoch", "", "ms", pause, higher_is_better=False)
