"""Time from the start of a program until it has predicted an event that was in the log before.

The baselines are the peers on the same Kafka, and a process that only imports Bytewax, River and the client.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import psutil

from flows.runtime.runner import FLOWS
from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.processes import cpu_seconds, wait_for
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.benchmarks.harness.ten_numbers import EVENTS
from scripts.benchmarks.peers.environments import PEERS
from scripts.benchmarks.peers.programs import Programs
from scripts.faults.servers import kafka

FOLDER = BENCH / "startup"
IMPORTS = "import bytewax.run, confluent_kafka, orjson, river.linear_model, river.preprocessing"
IMPORTING = "imports of Bytewax, River and confluent-kafka"
POLL = 0.005  # seconds
_NOTHING = {"LEARN": "0"}

Program = Callable[[], AbstractContextManager[psutil.Popen]]


class Start(NamedTuple):
    """Seconds from the start, and of CPU time of all processes until then."""

    wall: float
    cpu: float


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds; `events` are in the log before each start."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Start]] = {}
    with kafka(FOLDER / "kafka") as url:
        embedded = ten_numbers.site(FOLDER / "embedded")
        on_kafka = ten_numbers.site(FOLDER / "project", url)
        for site in (embedded, on_kafka):
            site.publish(ten_numbers.event_records(events))
        programs = Programs(on_kafka.broker, url.removeprefix("kafka://"), EVENTS, FOLDER)
        for _ in range(runs):
            for name, start in _starts(embedded, on_kafka, programs):
                found.setdefault(name, []).append(start())
    for work in (EMBEDDED, KAFKA):
        yield from _figures(work, IMPORTING, found[work], found[IMPORTING])
    for peer in PEERS:
        yield from _figures(ALONE, peer.name, found[ALONE], found[peer.name])


EMBEDDED, KAFKA, ALONE = (
    f"start to first prediction, {how}" for how in ("embedded log", "Kafka", "predict alone on Kafka")
)


def _starts(embedded: Site, on_kafka: Site, programs: Programs) -> Iterator[tuple[str, Callable[[], Start]]]:
    yield EMBEDDED, lambda: _ours(embedded)
    yield KAFKA, lambda: _ours(on_kafka)
    yield ALONE, lambda: _ours(on_kafka, "predict")
    for peer in PEERS:
        answers = programs.answers()
        yield (
            peer.name,
            partial(
                _until_first, partial(programs.run, peer, answers, _NOTHING), partial(on_kafka.end, answers)
            ),
        )
    yield IMPORTING, _imports


def _ours(site: Site, *flows: str) -> Start:
    site.forget(*FLOWS)
    return _until_first(lambda: site.run(*flows), site.predicted)


def _until_first(program: Program, answers: Callable[[], int]) -> Start:
    began = time.perf_counter()
    with program() as started:
        wait_for(started, lambda: answers() > 0, POLL)
        return Start(time.perf_counter() - began, cpu_seconds(started))


def _imports() -> Start:
    before, began = psutil.Process().cpu_times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    wall, after = time.perf_counter() - began, psutil.Process().cpu_times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Start(wall, cpu)


def _figures(work: str, baseline: str, ours: list[Start], theirs: list[Start]) -> Iterator[Figure]:
    for number, unit in enumerate(("s", "s of CPU time")):
        columns = ([start[number] for start in ours], [start[number] for start in theirs])
        yield Figure(work, baseline, unit, *columns, higher_is_better=False)
