"""Runs the five flows at a steady rate of synthetic flights and checks whether their memory grows.

A day of event time has 30,000 flights. Measurement begins after a third of the time, when windows, seen ids
and the label join are full. The verdict on each flow follows from the 95 % confidence interval of its memory
growth: "grows" if the lower end is above 1 % of its memory per hour, "slow" if it is above zero, else "flat".
The exit code is 1 if a flow grows.

With `--page`, `driftline serve` runs too, with the overview of its dashboard open in a headless Chromium. Of
these two the memory is the proportional set size, in which a page that n processes share counts as 1/n.

The project is in .driftline/soak and is recreated on every run. The broker is the embedded log or, with
DRIFTLINE_BROKER=kafka://host:port, Kafka.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import psutil
from rich.console import Console
from rich.table import Table

from flows.jobs.publishing.pace import SpeedUp
from flows.jobs.publishing.publisher import publish
from flows.runtime.engine import Engine
from flows.runtime.runner import FLOWS
from scripts.benchmarks.harness.processes import memory as proportional
from scripts.tools.endless import DAY, flights
from scripts.tools.fresh import REPOSITORY, fresh_project
from scripts.tools.open_page import open_page
from scripts.tools.slope import slope

SOAK = REPOSITORY / ".driftline" / "soak"
A_DAY = 30_000  # flights
EVERY = 2.0  # seconds between measurements
STEP = 60_000  # ms of event time sent in one batch at most
PORT, SERVE_PORT = 19_464, 19_471
MB = 1e6

console = Console(width=110)


class Sample(NamedTuple):
    """A measurement of a flow: time (s), memory and state on disk (bytes), CPU time (s)."""

    at: float
    pid: int
    memory: int
    disk: int
    processor: float


def main() -> int:
    """Run the soak and return the exit code."""
    options = _options()
    os.environ |= {"DRIFTLINE_HTTP_PORT": str(PORT), "DRIFTLINE_EPOCH_SECONDS": "10"}
    running = fresh_project(SOAK)
    with ExitStack() as stack:
        pids = dict(stack.enter_context(_flows()))
        if options.page:
            pids |= stack.enter_context(open_page(SOAK, SERVE_PORT, running.pipeline.name))
        sent = stack.enter_context(_published(running, options.rate))
        samples = _samples(running, pids, 60 * options.minutes)
        console.print(_state(sent["records"], options.minutes))
    if options.page:
        console.print(_curve(samples))
    return _report(samples)


@contextmanager
def _flows() -> Iterator[Mapping[str, int]]:
    """Run `driftline run` for the block; yield the process id of each flow."""
    with (SOAK / "run.log").open("wb") as log:
        command = [sys.executable, "-m", "flows.cli.app", "run", "--no-serve"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield _Pids(SOAK / "run.log")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class _Pids(dict[str, int]):
    """The process id of each flow, from the log of the supervisor."""

    def __init__(self, log: Path) -> None:
        deadline = time.monotonic() + 60
        while set(self) != set(FLOWS):
            if time.monotonic() > deadline:
                raise SystemExit(f"the flows did not start:\n{log.read_text()}")
            time.sleep(0.1)
            found = re.findall(r"(\S+) started \(pid (\d+)\)", log.read_text())
            self.update({flow: int(pid) for flow, pid in found})


@contextmanager
def _published(running: Engine, rate: float) -> Iterator[Mapping[str, int]]:
    """Publish `rate` flights a second for the block; yield the number of records sent."""
    sent, end = {"records": 0}, threading.Event()

    def work() -> None:
        with closing(running.open_broker()) as broker, closing(broker.producer()) as producer:
            pace = SpeedUp(rate * DAY / 1000 / A_DAY)
            for records in publish(producer, running.pipeline, flights(A_DAY), pace, STEP):
                sent["records"] += len(records)
                if end.is_set():
                    return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield sent
    end.set()
    thread.join()


def _samples(running: Engine, pids: Mapping[str, int], seconds: float) -> dict[str, list[Sample]]:
    began = time.monotonic()
    samples: dict[str, list[Sample]] = {name: [] for name in pids}
    while (at := time.monotonic() - began) < seconds:
        for name, pid in pids.items():
            samples[name].append(_sample(at, name, pid, running.state.recovery_dir(name)))
        time.sleep(EVERY)
    return samples


def _sample(at: float, name: str, pid: int, state: Path) -> Sample:
    try:
        memory = _resident(pid) if name in FLOWS else int(MB * proportional(psutil.Process(pid)))
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (OSError, psutil.Error):
        raise SystemExit(f"process {pid} ({name}) has exited; see the logs in {SOAK}") from None
    ticks = int(fields[11]) + int(fields[12])
    disk = sum(file.stat().st_size for file in state.glob("part-*.sqlite3*"))
    return Sample(at, pid, memory, disk, ticks / os.sysconf("SC_CLK_TCK"))


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _curve(samples: Mapping[str, list[Sample]]) -> Table:
    """Return the memory of the server and the page every five minutes."""
    table = Table("minute", "serve, MB", "page, MB")
    for first, page in zip(samples["serve"], samples["page"], strict=True):
        if first.at >= 300 * table.row_count:
            table.add_row(f"{first.at / 60:.0f}", f"{first.memory / MB:.1f}", f"{page.memory / MB:.1f}")
    last, page = samples["serve"][-1], samples["page"][-1]
    table.add_row(f"{last.at / 60:.0f}", f"{last.memory / MB:.1f}", f"{page.memory / MB:.1f}")
    return table


def _state(records: int, minutes: float) -> str:
    """Describe the size of the state at the end, and the lag."""
    entities, pending = _metric("predict", "driftline_entities"), _metric("learn", "driftline_pending_labels")
    behind = sum(_metric(flow, "driftline_consumer_lag_records") for flow in ("predict", "learn"))
    return (
        f"{records:,} records in {minutes:g} minutes; at the end {entities:,.0f} entities, "
        f"{pending:,.0f} pending predictions, {behind:,.0f} records not yet read by predict and learn"
    )


def _metric(flow: str, name: str) -> float:
    """Return the sum over all series of a metric of the flow."""
    with urlopen(f"http://127.0.0.1:{PORT + FLOWS.index(flow)}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line))


def _report(samples: Mapping[str, list[Sample]]) -> int:
    """Print the measurements; return 1 if the memory of a flow grows, else 0."""
    table = Table(
        "process", "CPU", "memory, MB", "largest", "MB/h", "95 %", "on disk, MB", "largest", "verdict"
    )
    grows = False
    for flow, of_flow in samples.items():
        measured = of_flow[len(of_flow) // 3 :]
        hours = [sample.at / 3600 for sample in measured]
        memory = slope(hours, [sample.memory / MB for sample in measured])
        verdict = memory.verdict(0.01 * measured[0].memory / MB)
        grows |= verdict == "grows"
        seconds = measured[-1].at - measured[0].at
        table.add_row(
            flow,
            f"{(measured[-1].processor - measured[0].processor) / seconds:.0%}",
            f"{measured[-1].memory / MB:,.0f}",
            f"{max(sample.memory for sample in of_flow) / MB:,.0f}",
            f"{memory.value:+.1f}",
            f"{memory.low:+.1f} to {memory.high:+.1f}",
            f"{measured[-1].disk / MB:,.1f}",
            f"{max(sample.disk for sample in of_flow) / MB:,.1f}",
            verdict,
        )
    console.print(table)
    return int(grows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="duration (default: 20)")
    parser.add_argument(
        "--rate", type=float, default=500.0, metavar="N", help="flights per second (default: 500)"
    )
    parser.add_argument("--page", action="store_true", help="run `driftline serve` too, with its page open")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
