"""The trainer of one trigger: `python -m flows.runtime.training.trainer`, started by the retrain flow.

It reads its order from standard input and writes messages to standard output. It ends when the flow dies,
which closes the input.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from flows.core.learning.candidates.plans import CandidatePlan, plans
from flows.core.learning.candidates.search import Configuration, SearchResult, best_of, halve
from flows.core.stream.times import in_milliseconds
from flows.errors import DriftlineError
from flows.host.children import Children
from flows.host.printable import PrintableFormatter
from flows.runtime.training import jobs
from flows.runtime.training.candidates import CandidateJob
from flows.runtime.training.messages import (
    Dropped,
    JobResult,
    Measured,
    RowsCounted,
    TrainingOrder,
    TrainingProgress,
)

_POLL = 0.05  # seconds
_NICE = 10  # the niceness at least
_MEGABYTE = 2**20


class Trainer:
    """Trains the candidates of an order one after the other, each in a process of its own.

    `flow` closes when the retrain flow dies. `out` gets the messages for it.
    """

    def __init__(self, order: TrainingOrder, flow: Connection, out: Connection) -> None:
        self._pipeline = jobs.load(order.place).pipeline
        self._policy = self._pipeline.retrain
        self._order = order
        self._flow = flow
        self._out = out
        self._children = Children()

    def run(self) -> None:
        """Train all candidates that are not done."""
        policy = self._policy
        window = None if policy.window is None else in_milliseconds(policy.window)
        for plan in plans(self._order.trigger, window, policy.search is not None):
            if plan.version not in self._order.done:
                self._train(plan)

    def _train(self, plan: CandidatePlan) -> None:
        found = None
        if plan.kind == "search":
            found = self._search(plan)
            if found.winner is None:
                self._out.send(Dropped(plan.version, "failed", "no configuration could be compared"))
                return
            if self._order.trigger.kind == "first" and self._pipeline.is_declared(found.winner):
                self._out.send(Dropped(plan.version, "no-better", "the declared model has the lowest loss"))
                return
        job = CandidateJob(self._order.trigger, plan, found)
        result = self._result(plan.version, self._deadline(), jobs.train_candidate, job)
        self._out.send(result)

    def _search(self, plan: CandidatePlan) -> SearchResult:
        """Return the result of successive halving; it ends with the budget.

        The first search is over the newer half of the labels, and all configurations learn the older half.
        So it prefers none for its first steps, which the declared model has behind it.
        """
        assert self._policy.search is not None
        deadline, version = self._deadline(), plan.version
        span = jobs.Span(plan.since, self._order.trigger.time)
        counted = self._result(version, deadline, jobs.count_rows, span)
        rows = counted.rows if isinstance(counted, RowsCounted) else 0
        if not rows:
            return SearchResult(None, ())

        is_first = self._order.trigger.kind == "first"

        def loss_of(configuration: Configuration, size: int) -> float | None:
            older = rows - size
            asked = jobs.Measuring(configuration, *((0, older) if is_first else (older, 0)))
            name = f"{version} {configuration.name}"
            measured = self._result(name, deadline, jobs.measure, span, asked)
            if isinstance(measured, Dropped):
                self._out.send(measured)
            return measured.loss if isinstance(measured, Measured) else None

        def is_over() -> bool:
            return time.monotonic() >= deadline

        configurations = self._policy.search.configurations()
        if is_first:
            return best_of(configurations, rows - rows // 2, loss_of, is_over)
        return halve(configurations, rows, loss_of, is_over)

    def _deadline(self) -> float:
        return time.monotonic() + self._policy.budget.total_seconds()

    def _result(self, version: str, deadline: float, job: Callable[..., int], *arguments: Any) -> JobResult:
        """Return the result of a job, or why it was dropped."""
        reader, writer = Pipe(duplex=False)
        process = self._children.start("retrain-job", job, self._order.place, *arguments, writer)
        writer.close()
        memory = MemoryWatch(process.pid or 0)
        result: JobResult | None = None
        fault: Dropped | None = None
        while fault is None:
            ready = wait([reader, self._flow], _POLL)
            if self._flow in ready:
                process.kill()
                _end()
            if reader in ready:
                try:
                    message = reader.recv()
                except EOFError:
                    break
                if isinstance(message, TrainingProgress):
                    self._out.send(message._replace(version=version))
                else:
                    result = message
            if time.monotonic() >= deadline:
                seconds = self._policy.budget.total_seconds()
                fault = Dropped(version, "over-budget", f"it took more than the budget of {seconds:g} s")
            elif memory.grown() > self._policy.memory * _MEGABYTE:
                limit = self._policy.memory
                fault = Dropped(version, "over-memory", f"it took more than the memory of {limit:,} MB")
        if fault is not None:
            process.kill()
        process.join()
        reader.close()
        if result is None:
            code = process.exitcode
            return fault or Dropped(version, "failed", f"its process ended with exit code {code}")
        return result._replace(version=version) if isinstance(result, Dropped) else result


class MemoryWatch:
    """How much memory of its own a process has got since the watch began; only Linux tells it."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._before = self._anonymous()

    def grown(self) -> int:
        """Return the growth in bytes; 0 if it is unknown."""
        return self._anonymous() - self._before

    def _anonymous(self) -> int:
        try:
            lines = self._status.read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def _end() -> NoReturn:
    os._exit(1)  # the jobs end with this process


def main() -> int:
    """Train what the order on standard input asks for."""
    flow = Connection(os.dup(0), writable=False)
    out = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # what user code prints is no message
    os.nice(max(0, _NICE - os.nice(0)))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s retrain: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        Trainer(flow.recv(), flow, out).run()
    except DriftlineError as error:
        logging.getLogger("driftline.retrain").error("%s", error)
        return 1
    except (EOFError, BrokenPipeError):
        return 1  # the flow has ended
    return 0


if __name__ == "__main__":
    sys.exit(main())
