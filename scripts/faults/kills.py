"""Kills flows, on Kafka and Redis, at random moments at which they have work."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from flows.adapters.http.receiver import Receiver
from flows.core.stream.broker import Outgoing
from scripts.faults.commands import Commander
from scripts.faults.feed import Feed
from scripts.faults.plan import Plan
from scripts.faults.site import Site
from scripts.faults.supervisor import Supervisor

SECRET = "whsec_" + "MDEy" * 8
TICK = 0.03  # seconds
QUIET = 1.5  # seconds without work after which the run is done


class TooSlow(Exception):
    """The run exceeded its time limit."""


class Kill(NamedTuple):
    """A SIGKILL of one process of a flow, after `predictions`, with `lag` records left to read.

    `was_training`: a trainer of the retrain flow ran.
    """

    flow: str
    process: str
    predictions: int
    lag: int
    was_training: bool


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
        self._asked: list[tuple[float, str]] = []  # due kills for which a training was asked
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
                self._feed = Feed(log, records, self._plan)
                self._commander = Commander(log.running, self._plan.seed, self._say)
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
        while self._plan.orders and self._plan.orders[0] <= predictions:
            self._plan.orders.pop(0)
            self._commander.send()
        self._advance(predictions, doing)
        time.sleep(TICK)

    def _kill_what_is_due(self, predictions: int) -> None:
        """Kill the first due flow that is at work; the others stay due.

        Where commands are sent, one asks for a training if the retrain flow has nothing to do.
        """
        for due in self._pending:
            since, flow = due
            if time.monotonic() < since or not self._running.alive(flow) or not self._log.has_begun(flow):
                continue
            trains, work = self._running.is_training(), self._work(flow)
            if work or (trains and flow == "retrain"):
                process = self._running.kill_one(flow, self._plan.random)
                self._log.forget_progress(flow)
                self._pending.remove(due)
                self.kills.append(Kill(flow, process, predictions, work, trains))
                doing = ", during a training" if trains else ""
                self._say(
                    f"kill {len(self.kills)}: {process} after {predictions:,} predictions, {work:,} to go"
                    + doing
                )
                return
            if flow == "retrain" and self._plan.commands and due not in self._asked:
                self._asked.append(due)
                self._commander.ask_for_training()

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
            not self._feed.left
            and not any(map(self._work, flows))
            and all(map(self._running.alive, flows))
            and not self._running.is_training()
        )
        now = time.monotonic()
        self._quiet_since = min(self._quiet_since, now) if quiet else inf
        return now - self._quiet_since > QUIET
