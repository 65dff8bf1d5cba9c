"""Kills the five flows, on Kafka and Redis, at random moments at which they have work."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import NamedTuple

from flows.adapters.http.receiver import Receiver
from flows.core.stream.broker import Outgoing
from flows.runtime.runner import FLOWS
from scripts.faults.site import Log, Site

SECRET = "whsec_" + "MDEy" * 8
PROCESSES = (2, 1, 3)  # of the predict flow, in turns
RESERVE = 4  # the last quarter of the events is held back while kills are due, so that they find work
SPAN = 3_600_000  # ms of event time sent in one batch, sources first, as `driftline publish` does
TICK = 0.03  # seconds
QUIET = 1.5  # seconds without work after which the run is done
DRAINED = 45.0  # seconds within which a supervisor must drain its flows


class TooSlow(Exception):
    """The run exceeded its time limit."""


class Kill(NamedTuple):
    """A SIGKILL of one process of a flow, after `predictions`, with `lag` records left to read."""

    flow: str
    process: str
    predictions: int
    lag: int


@dataclass
class Plan:
    """The kills that a seed draws: `due` holds each victim with the number of predictions at which it is due.

    Each of the `flows` gets the same number of kills. There is at least one phase for each number of
    processes, and every second phase ends with a SIGKILL of the supervisor instead of a drain. The predict
    and learn flows are kept up to `backlog` records behind, so that kills find them at work.
    """

    events: int
    kills: int
    seed: int
    flows: Sequence[str] = FLOWS
    backlog: int = 8_000
    phases: list[int] = field(init=False)
    due: list[tuple[int, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 (no secret)
        number = max(len(PROCESSES), self.kills // 6)
        self.phases = [PROCESSES[n % len(PROCESSES)] for n in range(number)]
        victims = [self.flows[n % len(self.flows)] for n in range(self.kills)]
        self.random.shuffle(victims)
        moments = sorted(self.random.randrange(self.events // 50, self.events * 9 // 10) for _ in victims)
        self.due = list(zip(moments, victims, strict=True))


class Chaos:
    """One run. `advance` gets the number of predictions and the current phase; `say` gets a line per kill."""

    def __init__(
        self,
        site: Site,
        plan: Plan,
        seconds: float,
        say: Callable[[str], None],
        advance: Callable[[int, str], None],
    ) -> None:
        self._site = site
        self._plan = plan
        self._began = time.monotonic()
        self._deadline = self._began + seconds
        self._say = say
        self._advance = advance
        self._quiet_since = inf
        self._pending: list[tuple[float, str]] = []  # due kills, with their earliest time (monotonic)
        self.kills: list[Kill] = []
        self.supervisors = 0  # killed
        self.alerts: list[str] = []
        self.repeated_alerts = 0
        self.took = 0.0  # seconds

    def run(self, records: Iterable[Outgoing]) -> None:
        """Send the records and kill flows meanwhile; raises `TooSlow`."""
        with Receiver(SECRET) as receiver:
            self._receiver = receiver
            webhook = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "true"}
            site = self._site.with_settings(**webhook)
            with site.log() as log:
                self._log = log
                self._feed = _Feed(log, records, self._plan)
                for number, processes in enumerate(self._plan.phases, 1):
                    self._phase(site, number, processes)
            self.alerts = [alert["id"] for alert in receiver.alerts]
            self.repeated_alerts = receiver.repeats
        self.took = time.monotonic() - self._began

    def by_flow(self) -> Counter[str]:
        """Return the number of kills of each flow."""
        return Counter(kill.flow for kill in self.kills)

    def _phase(self, site: Site, number: int, processes: int) -> None:
        plan = self._plan
        last = number == len(plan.phases)
        until = plan.events * number // len(plan.phases)
        with Supervisor(site, number, processes, *plan.flows) as running:
            self._running = running
            while not (self._is_done() if last else self._has_reached(until)):
                self._tick(f"phase {number} of {len(plan.phases)}, predict with {processes}")
            if number % 2 or last:
                running.drain()
            else:
                running.kill()
                self.supervisors += 1
                self._say(f"supervisor of phase {number} killed")

    def _tick(self, doing: str) -> None:
        if time.monotonic() > self._deadline:
            lags = ", ".join(f"{flow} {self._log.lag(flow):,}" for flow in self._plan.flows)
            raise TooSlow(
                f"{self._predictions():,} predictions, {len(self.kills)} kills; still to read: {lags}"
            )
        self._running.check()
        if self._plan.due or self._pending:
            self._feed.go_on_with_reserve()
        else:
            self._feed.go_on(self._plan.backlog)
        predictions = self._predictions()
        while self._plan.due and self._plan.due[0][0] <= predictions:
            self._pending.append((time.monotonic() + self._plan.random.random(), self._plan.due.pop(0)[1]))
        self._kill_what_is_due(predictions)
        self._advance(predictions, doing)
        time.sleep(TICK)

    def _kill_what_is_due(self, predictions: int) -> None:
        """Kill the first due flow that is at work; the others stay due."""
        for due in self._pending:
            since, flow = due
            if time.monotonic() < since or not self._running.alive(flow) or not self._log.has_begun(flow):
                continue
            if work := self._work(flow):
                process = self._running.kill_one(flow, self._plan.random)
                self._log.forget_progress(flow)
                self._pending.remove(due)
                self.kills.append(Kill(flow, process, predictions, work))
                self._say(
                    f"kill {len(self.kills)}: {process} after {predictions:,} predictions, {work:,} to go"
                )
                return

    def _work(self, flow: str) -> int:
        """Return how many records the flow has to read, or alerts to deliver."""
        work = self._log.lag(flow)
        if flow == "alert":
            return max(work, self._log.written("drift") - len(self._receiver.alerts))
        return work

    def _predictions(self) -> int:
        return self._log.written("predictions")

    def _has_reached(self, predictions: int) -> bool:
        """Return whether the phase may end: enough predictions, all flows alive, no kill possible."""
        reached = self._predictions() >= predictions and all(map(self._running.alive, self._plan.flows))
        return reached and (not self._pending or self._is_done())

    def _is_done(self) -> bool:
        """Return whether no flow had work for `QUIET` seconds; records may be on their way to one."""
        flows = self._plan.flows
        quiet = (
            not self._feed.left and not any(map(self._work, flows)) and all(map(self._running.alive, flows))
        )
        now = time.monotonic()
        self._quiet_since = min(self._quiet_since, now) if quiet else inf
        return now - self._quiet_since > QUIET


class _Feed:
    """Sends the records in event-time order and bounds the backlog of the flows."""

    def __init__(self, log: Log, records: Iterable[Outgoing], plan: Plan) -> None:
        self._log = log
        self._backlog = plan.backlog
        self._unreserved = plan.events - plan.events // RESERVE  # events
        self._producer = log.broker.producer()
        self._chunks = _spans(records)
        self._next = next(self._chunks, None)
        self._events = log.running.pipeline.events.topic
        self._sent = 0  # events

    @property
    def left(self) -> bool:
        return self._next is not None

    def go_on_with_reserve(self) -> None:
        """Send up to the backlog; of the reserve send one span, and only to flows that have caught up."""
        self.go_on(self._backlog if self._sent < self._unreserved else 1)

    def go_on(self, backlog: int) -> None:
        """Send until the flows are `backlog` records behind."""
        room = backlog - max(self._log.lag(flow) for flow in ("predict", "learn"))
        while self._next is not None and room > 0:
            room -= self._send(self._next)
            self._next = next(self._chunks, None)

    def _send(self, span: Sequence[Outgoing]) -> int:
        """Send the span and return its number of records."""
        sources = [record for record in span if record.topic != self._events]
        events = [record for record in span if record.topic == self._events]
        for records in (sources, events):
            if records:
                self._producer.send(records)
        self._sent += len(events)
        return len(span)


def _spans(records: Iterable[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    chunk: list[Outgoing] = []
    for record in records:
        if chunk and (record.timestamp or 0) - (chunk[0].timestamp or 0) > SPAN:
            yield chunk
            chunk = []
        chunk.append(record)
    if chunk:
        yield chunk


class Supervisor:
    """`driftline run` of the flows (default: all); kills what is left of it at the end of the block."""

    def __init__(self, site: Site, number: int, processes: int, *flows: str) -> None:
        self._file: Path = site.directory / f"run-{number}.log"
        self._output = self._file.open("wb")
        self._process = site.command("run", *flows, "--processes", str(processes), output=self._output)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self._output.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in self._pids().values():
            if is_flow(pid):
                os.kill(pid, signal.SIGKILL)

    def check(self) -> None:
        """Raise `SystemExit` if it has exited."""
        if self._process.poll() is not None:
            raise SystemExit(f"driftline run exited with code {self._process.returncode}; see {self._file}")

    def alive(self, flow: str) -> dict[str, int]:
        """Return the live processes of the flow: name to process id."""
        return {
            name: pid for name, pid in self._pids().items() if name.partition("-")[0] == flow and is_flow(pid)
        }

    def kill_one(self, flow: str, random: Random) -> str:
        """Kill one process of the flow, wait until the others have exited, and return its name."""
        pids = self.alive(flow)
        process = random.choice(sorted(pids))
        os.kill(pids[process], signal.SIGKILL)
        _wait_until_gone(pids.values())
        return process

    def drain(self) -> None:
        """Send SIGTERM and wait; the flows store their state."""
        self._process.send_signal(signal.SIGTERM)
        if code := self._process.wait(DRAINED):
            raise SystemExit(f"driftline run exited with code {code}; see {self._file}")

    def kill(self) -> None:
        """Kill the supervisor only, and wait until the flows have drained."""
        self._process.kill()
        self._process.wait()
        _wait_until_gone(self._pids().values())

    def _pids(self) -> dict[str, int]:
        said = self._file.read_text(errors="replace")
        return {name: int(pid) for name, pid in re.findall(r"(\S+) started \(pid (\d+)\)", said)}


def _wait_until_gone(pids: Iterable[int]) -> None:
    deadline = time.monotonic() + DRAINED
    while any(map(is_flow, pids)):
        if time.monotonic() > deadline:
            raise SystemExit(f"processes of flows did not exit within {DRAINED:g} s")
        time.sleep(0.02)


def is_flow(pid: int) -> bool:
    """Return whether the process is a flow and has not ended; the system may have reused its id."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return re.split("[-+]", name)[0] in FLOWS and bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
