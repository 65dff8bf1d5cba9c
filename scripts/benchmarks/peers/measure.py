"""Measures a program from outside: its progress on a topic, and the CPU time of its processes."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import Consumer, TopicPartition

PATIENCE = 300.0  # seconds for a program to do its work
WARM = 0.3  # the share of the events that is not measured


@dataclass(frozen=True)
class Rate:
    """Events/s of CPU time of all processes, events/s of wall time, and memory at the end (MB)."""

    cpu: float
    wall: float
    resident: float


@contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[psutil.Process]:
    """Run the program for the block; terminate it and its children afterwards."""
    with log.open("wb") as output:
        program = psutil.Popen(command, cwd=folder, env=dict(environment), stdout=output, stderr=output)
    try:
        yield program
    finally:
        for process in _tree(program):
            with suppress(psutil.Error):
                process.terminate()
        with suppress(subprocess.TimeoutExpired):
            program.wait(20)
        for process in _tree(program):
            with suppress(psutil.Error):
                process.kill()


def rate(program: psutil.Process, position: Callable[[], int], count: int) -> Rate:
    """Return the rate over the events after the warm-up, until the program has processed `count`."""
    wait_for(program, lambda: position() >= WARM * count)
    began, first, spent = time.monotonic(), position(), cpu_seconds(program)
    wait_for(program, lambda: position() >= count)
    events = count - first
    return Rate(
        cpu=events / (cpu_seconds(program) - spent),
        wall=events / (time.monotonic() - began),
        resident=resident(program),
    )


def wait_for(program: psutil.Process, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; raise `SystemExit` if the program exits or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if not program.is_running() or program.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit(f"{program.args[:3]} exited early; see its log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{program.args[:3]} did not finish within {PATIENCE:g} s; see its log")
        time.sleep(0.02)


def cpu_seconds(program: psutil.Process) -> float:
    """Return the CPU seconds that the program and its children have used."""
    total = 0.0
    for process in _tree(program):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def resident(program: psutil.Process) -> float:
    """Return the memory of the program and its children in MB; shared pages count once."""
    total = 0
    for process in _tree(program):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 1e6


class Watermarks:
    """Reads end offsets of topics and committed offsets of groups on one broker."""

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._ends = Consumer({"bootstrap.servers": broker, "group.id": "bench"})
        self._groups: dict[str, Consumer] = {}

    def end(self, topic: str) -> int:
        """Return the end offset of the topic's only partition."""
        offset: int = self._ends.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]
        return offset

    def committed(self, group: str, topic: str) -> int:
        """Return the group's committed offset on the topic's only partition."""
        if group not in self._groups:
            settings = {"bootstrap.servers": self._broker, "group.id": group, "enable.auto.commit": False}
            self._groups[group] = Consumer(settings)
        [found] = self._groups[group].committed([TopicPartition(topic, 0)], timeout=10)
        return max(0, int(found.offset))


def _tree(program: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [program, *program.children(recursive=True)]
    return []
