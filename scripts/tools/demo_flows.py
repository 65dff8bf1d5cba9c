"""`driftline run` of the demo: its flows, and its dashboard."""

import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from flows.runtime.runner import FLOWS

_FIRST_PORT, _LAST_PORT = 9464, 32_000
_STARTING = 30.0  # seconds
_POLL = 0.1
_SERVING = re.compile(r"^serving .* at (https?://\S+)$", re.MULTILINE)
_NOT_SERVING = re.compile(r"^the flows run without serve$", re.MULTILINE)


class Flows:
    """`driftline run` of the project in `folder` for a block; its output goes to run.log unless `verbose`."""

    def __init__(self, folder: Path, console: Console, verbose: bool) -> None:
        self._file = folder / "run.log"
        self._console = console
        self._log = None if verbose else self._file.open("wb")
        command = [sys.executable, "-m", "flows.cli.app", "run", "--serve"]
        self._process = subprocess.Popen(command, cwd=folder, stdout=self._log, stderr=self._log)

    def __enter__(self) -> "Flows":
        if self._log is not None:  # otherwise the terminal has the lines already
            self._console.print(self._dashboard(), highlight=False)
        return self

    def __exit__(self, *_: object) -> None:
        with self._console.status("draining the flows"):
            self._process.send_signal(signal.SIGTERM)
            code = self._process.wait(60)
        if code:
            self._console.print(f"the flows exited with code {code}; see {self._file}")

    def _dashboard(self) -> str:
        """Return a line with the address of the dashboard, or why there is none."""
        deadline = time.monotonic() + _STARTING
        while time.monotonic() < deadline and self._process.poll() is None:
            said = self._file.read_text()
            if found := _SERVING.search(said):
                return f"dashboard: {found[1]}"
            if _NOT_SERVING.search(said):
                break
            time.sleep(_POLL)
        return f"the dashboard did not start; see {self._file}"


def free_ports() -> int:
    """Return a port from which on there is a free one for each flow, so that the dashboard finds them."""
    for first in range(_FIRST_PORT, _LAST_PORT, 2 * len(FLOWS)):
        with ExitStack() as sockets:
            try:
                for number in range(len(FLOWS)):
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", first + number))
            except OSError:
                continue
            return first
    return 0
