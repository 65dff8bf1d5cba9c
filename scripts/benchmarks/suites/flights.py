"""All five flows on the real flights, against an older commit in turns with this one, on the embedded log.

Each commit runs its own `scripts/demo`. The CPU time is that of the processes of its `driftline run` but the
dashboard's. Start and end are left out: the figure is the difference between two numbers of flights.
"""

import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil

from scripts.benchmarks.harness.figures import WALL, Figure
from scripts.benchmarks.harness.processes import cpu_by_process
from scripts.benchmarks.harness.site import BENCH
from scripts.tools.fresh import REPOSITORY

AGAINST = os.environ.get("BENCH_AGAINST", "63b7a9a")  # a commit
START_SHARE = 6  # of the flights, which the shorter run has
_SAMPLE = 0.1  # seconds


class Replay(NamedTuple):
    """The CPU time (s) of the flows, and the events/s of the replay."""

    cpu: float
    rate: float


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds over `events` flights."""
    old = checkout(AGAINST)
    costs: tuple[list[float], list[float]] = ([], [])
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for folder, cost, rate in zip((REPOSITORY, old), costs, rates, strict=True):
            short, long = replay(folder, events // START_SHARE), replay(folder, events)
            cost.append((long.cpu - short.cpu) / (events - events // START_SHARE) * 1000)
            rate.append(long.rate)
    yield Figure("flights, all flows", AGAINST, "ms of CPU time a flight", *costs, higher_is_better=False)
    yield Figure("flights, all flows", AGAINST, WALL, *rates)


def checkout(commit: str) -> Path:
    """Return a folder with the files of the commit, and an environment with what it needs."""
    folder = BENCH / "against" / commit
    if not folder.exists():
        command = ["git", "-C", str(REPOSITORY), "archive", commit]
        archive = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
    environment = {**os.environ, "PYTHON": sys.executable}
    install = [str(folder / "scripts" / "demo"), "--help"]
    subprocess.run(install, env=environment, capture_output=True, check=True)
    return folder


def replay(folder: Path, events: int) -> Replay:
    """Run the demo of a checkout over `events` flights."""
    summary = BENCH / "flights.summary.json"
    command = [str(folder / "scripts" / "demo"), "--events", str(events), "--summary", str(summary)]
    with (BENCH / "flights.log").open("wb") as log:
        demo = psutil.Popen(command, stdout=log, stderr=log)
    spent: dict[int, float] = {}
    while demo.poll() is None:
        for process in demo.children():
            if "run" in _arguments(process):
                spent |= {pid: cpu for pid, cpu in cpu_by_process(process).items() if not _is_server(pid)}
        time.sleep(_SAMPLE)
    if demo.returncode:
        raise SystemExit(
            f"scripts/demo of {folder} exited with code {demo.returncode}; see {BENCH}/flights.log"
        )
    return Replay(sum(spent.values()), orjson.loads(summary.read_bytes())["events_per_second"])


def _is_server(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "serve"
    except psutil.Error:
        return False


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
