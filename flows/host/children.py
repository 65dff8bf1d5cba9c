"""Child processes that share this process's imports, and drain when it dies.

On Linux they are forked: they share the memory of the imported modules, and start in milliseconds. Threads do
not survive a fork, so a process that has some, and other systems, start new interpreters instead.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

GRACE = 30.0  # seconds that a process gets to drain

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_Lifeline = tuple[Connection, Connection]  # only the parent keeps the second end open


class Children:
    """Starts child processes, which get SIGTERM when this process dies or the object is deleted.

    One that has not drained within `GRACE` then ends at once.
    """

    def __init__(self) -> None:
        forks = sys.platform == "linux" and threading.active_count() == 1
        self._context = get_context("fork" if forks else "spawn")
        self._lifeline: _Lifeline = self._context.Pipe(duplex=False)

    def start(self, name: str, target: Callable[..., int], *arguments: Any) -> BaseProcess:
        """Start a process that ends with the exit code that `target(*arguments)` returns.

        It is in a process group of its own, so that Ctrl-C does not reach it. A session of its own would do
        too, but Linux shares the processor among sessions: beside a busy one, a process that often sleeps
        then waits for seconds.
        """
        process: BaseProcess = self._context.Process(  # type: ignore[attr-defined]
            target=_run, name=name, args=(self._lifeline, name, target, arguments)
        )
        # until the child has its own handlers, a signal would be lost to those of this process
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return process

    def run(self, name: str, target: Callable[..., int], *arguments: Any) -> int:
        """Start a process, wait until it has ended, and return its exit code."""
        process = self.start(name, target, *arguments)
        process.join()
        return process.exitcode or 0


def _run(lifeline: _Lifeline, name: str, target: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    os.setpgid(0, 0)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    with suppress(OSError):  # only Linux has it: the name that `top` and `pgrep` show
        Path("/proc/self/comm").write_text(name)
    end, parents = lifeline
    parents.close()
    threading.Thread(target=_drain_with_parent, args=(end,), daemon=True).start()
    sys.exit(target(*arguments))


def _drain_with_parent(end: Connection) -> None:
    end.poll(None)  # returns when the parent's end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)  # as the parent would have ended it
