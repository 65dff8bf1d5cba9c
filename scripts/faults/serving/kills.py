"""Kills `driftline serve` and the predict flow while callers ask, and verifies the topics."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from scripts.faults.checks.check import Check
from scripts.faults.checks.served import served
from scripts.faults.servers import await_ready, free_port
from scripts.faults.serving.callers import Callers
from scripts.faults.serving.traffic import Traffic
from scripts.faults.site import Log, Site
from scripts.faults.supervisor import Supervisor

RATE = 200.0  # requests a second
FLOWS = ("predict", "learn")
VICTIMS = ("serve", "predict")  # in turns
_PATIENCE = 120.0  # seconds until the last answers, and until the last predictions
_POLL = 0.1


class Serving:
    """A run of `requests` with `kills`, evenly spread; `say` gets a line for each."""

    def __init__(self, site: Site, requests: int, kills: int, seed: int, say: Callable[[str], None]) -> None:
        self._site = site.with_settings(SERVE_PORT=free_port())
        self._url = f"http://127.0.0.1:{self._site.environment['DRIFTLINE_SERVE_PORT']}"
        self._requests = requests
        self._kills = kills
        self._random = Random(seed)  # noqa: S311 (no secret)
        self._say = say
        self.callers = Callers(self._url, Traffic(site.engine(), seed), requests, RATE)

    def run(self) -> list[Check]:
        """Ask and kill; return the checks of the answers and the topics."""
        with Supervisor(self._site, 1, 1, *FLOWS) as flows, self._served() as server:
            await_ready(f"{self._url}/v2/health/ready", _PATIENCE)
            self.callers.start()
            began, seconds = time.monotonic(), self._requests / RATE
            for number in range(self._kills):
                due = began + seconds * (number + 0.5) / self._kills
                time.sleep(max(0.0, due - time.monotonic()))
                victim = VICTIMS[number % len(VICTIMS)]
                self._say(f"kill {number + 1}: {victim} after {len(self.callers.answered):,} answers")
                if victim == "serve":
                    server.kill()
                else:
                    flows.kill_one(victim, self._random)
            is_answered = self.callers.join(seconds + _PATIENCE)
            self.callers.stop()
            flows.check()
            with self._site.log() as log:
                self._await_predictions(log)
                return [
                    *self._answers(is_answered),
                    *served(log, self.callers.answered, self.callers.predictions),
                ]

    @contextmanager
    def _served(self) -> "Iterator[_Server]":
        server = _Server(self._site)
        try:
            yield server
        finally:
            server.stop()

    def _await_predictions(self, log: Log) -> None:
        deadline = time.monotonic() + _PATIENCE
        while log.lag("predict") and time.monotonic() < deadline:
            time.sleep(_POLL)

    def _answers(self, is_answered: bool) -> Iterator[Check]:
        callers = self.callers
        missing = [] if is_answered else [f"{self._requests - len(callers.answered):,} requests"]
        yield Check("requests that were not answered in the end", self._requests, missing)
        yield Check("answers that are no success", len(callers.answered), callers.refused)


class _Server:
    """`driftline serve`, started again when it was killed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._output = (site.directory / "serve.log").open("wb")
        self._process = self._started()

    def kill(self) -> None:
        """Kill it with SIGKILL, and start another one."""
        self._process.kill()
        self._process.wait()
        self._process = self._started()

    def stop(self) -> None:
        """Let it end."""
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._output.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        return self._site.command("serve", output=self._output)
