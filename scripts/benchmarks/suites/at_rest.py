"""CPU time and memory of the five flows of the flights, when all events are predicted and learned.

They run with their default settings, on the embedded log and on Kafka. Memory is the proportional set size,
in which a page that n processes share counts as 1/n for each.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from flows.runtime.runner import FLOWS
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.processes import cpu_seconds, memory, tree, wait_for
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.faults.servers import kafka
from scripts.tools.fresh import fresh_folder

FOLDER = BENCH / "at_rest"
SETTLE, IDLE = 12.0, 20.0  # seconds until the flows are at rest, and of the measurement
DEFAULT = {"DRIFTLINE_EPOCH_SECONDS": "10"}
ALL = "all five flows"


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures after `events` flights; the brokers take turns."""
    found: dict[tuple[str, str], list[float]] = {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    with kafka(FOLDER / "kafka") as url:
        for _ in range(runs):
            for name, broker in (("embedded log", ""), ("Kafka", url)):
                for figure, value in _at_rest(broker, events):
                    found.setdefault((f"{figure}, {name}", _unit(figure)), []).append(value)
    for (work, unit), values in found.items():
        yield Figure(work, "", unit, values, higher_is_better=False)


def _unit(figure: str) -> str:
    return "% of a core" if figure.startswith("idle") else "MB"


def _at_rest(broker: str, events: int) -> Iterator[tuple[str, float]]:
    """Yield the names and values of the figures on one broker."""
    site = Site(fresh_folder(FOLDER / "project", "flight_delays"), broker, DEFAULT)
    site.publish(site.engine.pipeline.load_dataset(events))
    labels = site.end(site.engine.pipeline.labels.topic)
    with site.run() as program:
        wait_for(program, lambda: site.predicted() >= events and site.learned() >= labels)
        wait_for(program, lambda: sum(map(len, flows_by_process(site).values())) == len(FLOWS))
        time.sleep(SETTLE)
        spent = cpu_seconds(program)
        time.sleep(IDLE)
        yield f"idle, {ALL}", (cpu_seconds(program) - spent) / IDLE * 100
        flows = flows_by_process(site)
        memories = {process.pid: memory(process) for process in tree(program)}
    yield f"memory, {ALL}", sum(memories.values())
    for process_id, names in flows.items():
        if len(names) == 1:  # not where all flows are one process
            yield f"memory, {names[0]}", memories[process_id]


def flows_by_process(site: Site) -> dict[int, list[str]]:
    """Return the flows that each process runs, which has locked a file for each.

    The command lines do not tell: processes may be forked from one.
    """
    files = {flow: site.engine.state.lock_file(flow) for flow in FLOWS}
    inodes = {flow: file.stat().st_ino for flow, file in files.items() if file.exists()}
    found: dict[int, list[str]] = {}
    for line in Path("/proc/locks").read_text().splitlines():
        *_, process_id, file, _start, _end = line.split()
        for flow, inode in inodes.items():
            if file.endswith(f":{inode}"):
                found.setdefault(int(process_id), []).append(flow)
    return found
