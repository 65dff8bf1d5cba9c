"""Supervises the flows as processes: restarts a flow that crashed, and drains all of them at the end.

A flow may be several processes, a Bytewax cluster on this machine. A crash of one loses the messages between
them, so the others are killed and all resume from their stored state. A process may also run several flows,
or something beside them.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess

from flows.core.stream.drain import Drain
from flows.host.children import GRACE, Children
from flows.runtime.runner import DUMP_STACKS, EXIT_AGAIN, EXIT_MISTAKE, SINGLE, ProcessPlace, main

_DUMPING = 1.0  # seconds that a flow gets to write its stacks
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before a crashed flow is restarted
_HEALTHY_AFTER = 60.0  # seconds of running after which the wait is reset


@dataclass(frozen=True)
class Job:
    """What a process runs, or several; `target` gets the place of its process and returns the exit code.

    If it cannot start because of a mistake of the user, the other jobs end too, unless it is `dispensable`.
    """

    name: str
    target: Callable[[ProcessPlace], int]
    processes: int = 1
    dispensable: bool = False


def flow_job(flows: Sequence[str], pipeline: str, processes: int = 1) -> Job:
    """Return the job of flows that one process runs, or of a flow that several run."""
    return Job("+".join(flows), partial(main, flows, pipeline=pipeline), processes)


@dataclass
class _Child:
    job: Job
    processes: list[BaseProcess] = field(default_factory=list)
    started: float = 0.0
    wait: float = _FIRST_WAIT
    restart_at: float | None = None

    def end(self) -> int | None:
        """Return the exit code of the job if a process of it ended, `EXIT_MISTAKE` first.

        Returns `EXIT_AGAIN` only after all processes have ended with it, since each of them does.
        """
        codes = [code for process in self.processes if (code := process.exitcode) is not None]
        if EXIT_MISTAKE in codes:
            return EXIT_MISTAKE
        if codes == [EXIT_AGAIN] * len(self.processes):
            return EXIT_AGAIN
        return next((code for code in codes if code != EXIT_AGAIN), None)

    def kill(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes:
            process.kill()
            process.join()


class Supervisor:
    """Runs jobs, such as the flows of a pipeline; `say` gets a line for each event."""

    def __init__(self, jobs: Sequence[Job], say: Callable[[str], None]) -> None:
        self._say = say
        self._drain = Drain()
        self._starter = Children()
        self._jobs = jobs
        self._children: list[_Child] = []

    def run(self) -> int:
        """Supervise until `stop` is called; return 0, or the exit code of a job that cannot start."""
        self._children = [_Child(job) for job in self._jobs]
        for child in self._children:
            self._start(child)
        while not self._drain.is_set():
            time.sleep(0.1)
            for child in list(self._children):
                if (code := self._supervise(child)) is not None:
                    self._drain_all()
                    return code
        self._say("draining")
        return self._drain_all()

    def stop(self) -> None:
        """Let `run` drain the jobs and return."""
        self._drain.set()

    def _start(self, child: _Child) -> None:
        places = cluster(child.job.processes)
        child.processes = [self._open(child, place) for place in places]
        child.started, child.restart_at = time.monotonic(), None

    def _open(self, child: _Child, place: ProcessPlace) -> BaseProcess:
        name = place.name_of(child.job.name)
        process = self._starter.start(name, child.job.target, place)
        self._say(f"{name} started (pid {process.pid})")
        return process

    def _supervise(self, child: _Child) -> int | None:
        """Restart the job if it ended; return its exit code if that would not help."""
        now = time.monotonic()
        if child.restart_at is None:
            code = child.end()
            if code is None:
                return None
            child.kill()
            if code == EXIT_MISTAKE:
                return self._give_up(child)
            if code == EXIT_AGAIN:
                self._start(child)
                return None
            if now - child.started > _HEALTHY_AFTER:
                child.wait = _FIRST_WAIT
            child.restart_at = now + child.wait
            self._say(f"{child.job.name} ended with {code}; starting it again in {child.wait:g} s")
        elif now >= child.restart_at:
            self._start(child)
            child.wait = min(2 * child.wait, _LONGEST_WAIT)
        return None

    def _give_up(self, child: _Child) -> int | None:
        """Return the exit code of all if the others do not go on without the job."""
        if not child.job.dispensable:
            return EXIT_MISTAKE
        self._children.remove(child)
        self._say(f"the flows run without {child.job.name}")
        return None

    def _drain_all(self) -> int:
        """Drain all jobs; return 0 if each one that is not dispensable did within the grace period."""
        processes = [(child.job, process) for child in self._children for process in child.processes]
        for _, process in processes:
            if process.exitcode is None:
                process.terminate()
        deadline = time.monotonic() + GRACE
        ends = [(job, self._wait_for(job.name, process, deadline)) for job, process in processes]
        # a flow that has not started yet dies of the signal, and loses nothing
        in_order = (0, EXIT_AGAIN, -signal.SIGTERM)
        return 0 if all(job.dispensable or code in in_order for job, code in ends) else 1

    def _wait_for(self, name: str, process: BaseProcess, deadline: float) -> int | None:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            self._say(f"{name} did not drain within {GRACE:g} s; killed. Its stacks:")
            os.kill(process.pid or 0, DUMP_STACKS)
            process.join(_DUMPING)  # it continues after the dump
            process.kill()
            process.join()
        return process.exitcode


def cluster(processes: int) -> Sequence[ProcessPlace]:
    """Return the places of the processes of a flow, which communicate over free loopback ports."""
    if processes == 1:
        return [SINGLE]
    with ExitStack() as sockets:
        probes = [sockets.enter_context(socket.socket()) for _ in range(processes)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        addresses = tuple(f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes)
    return [ProcessPlace(number, addresses) for number in range(processes)]
