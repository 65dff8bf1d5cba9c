"""Runs programs and measures them from outside: CPU time and memory of all their processes, and progress."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

PATIENCE = 300.0  # seconds for a program to do its work
WARM = 0.3  # the share of the events that is not measured
_POLL = 0.02


class Rate(NamedTuple):
    """Events/s of CPU time of all processes, and events/s of wall time."""

    cpu: float
    wall: float


@contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[psutil.Popen]:
    """Run the program for the block, with `environment` added to ours; terminate it and its children then."""
    with log.open("wb") as output:
        program = psutil.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield program
    finally:
        processes = tree(program)
        for process in processes:
            with suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs(processes, 20)
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        with suppress(subprocess.TimeoutExpired):
            program.wait(5)


def rate(program: psutil.Popen, position: Callable[[], int], count: int, warm: float = WARM) -> Rate:
    """Return the rate until the program has processed `count` events, without the first share `warm`."""
    wait_for(program, lambda: position() >= warm * count)
    began, first, spent = time.monotonic(), position(), cpu_seconds(program)
    wait_for(program, lambda: position() >= count)
    events, cpu = count - first, cpu_seconds(program) - spent
    return Rate(events / cpu, events / (time.monotonic() - began))


def segment_costs(
    program: psutil.Popen, position: Callable[[], int], segments: Iterable[tuple[int, int]]
) -> list[float]:
    """Return the CPU time per event (us) in each segment (start, end) of the events, which are in order."""
    costs = []
    for start, end in segments:
        wait_for(program, lambda start=start: position() >= start)
        first, spent = position(), cpu_seconds(program)
        wait_for(program, lambda end=end: position() >= end)
        if (count := position() - first) == 0:
            raise SystemExit(f"events {start} to {end} were processed between two looks; use more --events")
        costs.append((cpu_seconds(program) - spent) / count * 1e6)
    return costs


def wait_for(program: psutil.Popen, condition: Callable[[], bool], poll: float = _POLL) -> None:
    """Wait until the condition holds; raise `SystemExit` if the program exits or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if program.poll() is not None:
            raise SystemExit(f"{program.args} exited with code {program.returncode}; see its log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{program.args} did not finish within {PATIENCE:g} s; see its log")
        time.sleep(poll)


def cpu_seconds(program: psutil.Process) -> float:
    """Return the CPU seconds that the program and its living children have used."""
    return sum(cpu_by_process(program).values())


def cpu_by_process(program: psutil.Process) -> dict[int, float]:
    """Return the CPU seconds of the program and of each living descendant, by process id."""
    seconds = {}
    for process in tree(program):
        with suppress(psutil.Error):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds


def memory(process: psutil.Process) -> float:
    """Return the memory of one process in MB; a page shared by n processes counts as 1/n."""
    return float(process.memory_full_info().pss / 1e6)


def tree(program: psutil.Process) -> list[psutil.Process]:
    """Return the program and its living descendants."""
    with suppress(psutil.Error):
        return [program, *program.children(recursive=True)]
    return []
