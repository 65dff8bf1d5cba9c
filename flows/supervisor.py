"""Supervises the flows as processes: restarts one that crashed, and drains all of them at the end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flows.runner import EXIT_MISTAKE, SUPERVISED

GRACE = 30.0  # seconds that a flow gets to drain
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before a crashed flow is started again
_HEALTHY_AFTER = 60.0  # seconds after which a crash is no longer counted with the one before


@dataclass
class _Child:
    flow: str
    process: subprocess.Popen[bytes]
    started: float
    wait: float = _FIRST_WAIT
    restart_at: float | None = field(default=None)


class Supervisor:
    """Runs each of `flows` in a process of its own, with `environment` added to this one's.

    `say` gets one line for what happens.
    """

    def __init__(
        self, flows: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._environment = {**os.environ, **environment}
        self._say = say
        self._stop = threading.Event()
        self._flows = flows
        self._children: list[_Child] = []

    def run(self) -> int:
        """Supervise until `stop` is called; the exit code: 0, or that of a flow that cannot start."""
        self._children = [self._start(flow) for flow in self._flows]
        while not self._stop.wait(0.1):
            for child in self._children:
                if (code := self._look_after(child)) is not None:
                    self._end()
                    return code
        self._say("draining")
        return self._end()

    def stop(self) -> None:
        """Let `run` drain the flows and return."""
        self._stop.set()

    def _start(self, flow: str) -> _Child:
        command = [sys.executable, "-m", "flows.runner", flow, SUPERVISED]
        # The pipe ends when we do, however we end. In a session of its own a flow does not get our Ctrl-C:
        # we drain it.
        process = subprocess.Popen(  # noqa: S603 (our own module)
            command, env=self._environment, stdin=subprocess.PIPE, start_new_session=True
        )
        self._say(f"{flow} started (pid {process.pid})")
        return _Child(flow, process, time.monotonic())

    def _look_after(self, child: _Child) -> int | None:
        """Restart the child if it ended; the exit code if that would not help."""
        now = time.monotonic()
        if child.restart_at is None:
            code = child.process.poll()
            if code is None:
                return None
            if code == EXIT_MISTAKE:
                return EXIT_MISTAKE
            if now - child.started > _HEALTHY_AFTER:
                child.wait = _FIRST_WAIT
            child.restart_at = now + child.wait
            self._say(f"{child.flow} ended with {code}; starting it again in {child.wait:g} s")
        elif now >= child.restart_at:
            again = self._start(child.flow)
            child.process, child.started, child.restart_at = again.process, again.started, None
            child.wait = min(2 * child.wait, _LONGEST_WAIT)
        return None

    def _end(self) -> int:
        """Drain all flows; 0 if each one did within the grace period."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        codes = [self._wait_for(child, deadline) for child in self._children]
        # the signal ends a flow that has not begun: nothing of it is lost
        return 0 if all(code in (0, -signal.SIGTERM) for code in codes) else 1

    def _wait_for(self, child: _Child, deadline: float) -> int:
        try:
            return child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{child.flow} did not drain within {GRACE:g} s; killed")
            child.process.kill()
            return child.process.wait()
