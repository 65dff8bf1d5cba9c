"""`driftline run` under the kills: its processes, by the names and ids that it logs."""

import os
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from flows.runtime.runner import FLOWS
from scripts.faults.site import Site

DRAINED = 45.0  # seconds within which a supervisor must drain its flows
TRAINER = b"flows.runtime.training.trainer"  # in the command line of a trainer


class Supervisor:
    """`driftline run` of the flows (default: all); kills what is left of it at the end of the block."""

    def __init__(self, site: Site, number: int, processes: int, *flows: str) -> None:
        self._file: Path = site.directory / f"run-{number}.log"
        self._output = self._file.open("wb")
        options = ("--no-serve", "--processes", str(processes))
        self._process = site.command("run", *flows, *options, output=self._output)

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

    def is_training(self) -> bool:
        """Return whether a trainer of the retrain flow runs."""
        return any(map(_has_trainer, self.alive("retrain").values()))

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


def _has_trainer(pid: int) -> bool:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(TRAINER in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)
    except OSError:
        return False  # it has ended meanwhile
