"""Versions that are made again at request: in a process of low priority, one at a time."""

import os
import time
import traceback
from collections import OrderedDict
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock, Thread
from typing import Any

from flows.errors import DriftlineError
from flows.host.children import Children
from flows.serve.problems import Problem, retry_later

KEPT = 16  # reproductions whose results can be asked for
RETRY_AFTER = 10  # seconds, of a request during another reproduction
_NICE = 10  # requests and flows come first; with 19 it would make no progress on a busy machine
_EVERY = 0.5  # seconds between two messages of progress


@dataclass
class _Reproduction:
    """A reproduction: `rows` learned so far, and the outcome at its end."""

    version: str
    rows: int = 0
    outcome: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"version": self.version, "rows": self.rows, **(self.outcome or {"status": "running"})}


class Reproductions:
    """The reproductions that were asked for: the one in progress, and the results of the last ones."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._all: OrderedDict[tuple[str, str], _Reproduction] = OrderedDict()  # by pipeline and version
        self._children: Children | None = None
        self._process: BaseProcess | None = None

    def start(self, pipeline: str, version: str) -> dict[str, Any]:
        """Start to make a registered version again, and return the state.

        A reproduction of the same version that is in progress goes on. Raises a `Problem` with the status 429
        during that of another one.
        """
        with self._lock:
            running = next((key for key, each in self._all.items() if each.outcome is None), None)
            if running == (pipeline, version):
                return self._all[running].as_dict()
            if running is not None:
                raise retry_later(
                    f"version {running[1]!r} of {running[0]!r} is being made again; ask when that has ended",
                    RETRY_AFTER,
                    429,
                )
            begun = self._all[pipeline, version] = _Reproduction(version)
            self._all.move_to_end((pipeline, version))
            while len(self._all) > KEPT:
                self._all.popitem(last=False)
            self._begin(pipeline, begun)
            return begun.as_dict()

    def state(self, pipeline: str, version: str) -> dict[str, Any]:
        """Return the state of the last reproduction of a version; raises a `Problem` if there is none."""
        found = self._all.get((pipeline, version))
        if found is None:
            raise Problem(
                404,
                f"no reproduction of version {version!r} was asked for since the server started; POST to "
                f"/v1/{pipeline}/models/{version}/reproduce",
            )
        return found.as_dict()

    def stop(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()

    def _begin(self, pipeline: str, begun: _Reproduction) -> None:
        self._children = self._children or Children()
        ours, theirs = get_context("spawn").Pipe(duplex=False)
        self._process = self._children.start("reproduce", _reproduce, theirs, pipeline, begun.version)
        theirs.close()
        Thread(target=_watch, args=(ours, self._process, begun), name="reproduction", daemon=True).start()


def _watch(messages: Connection, process: BaseProcess, begun: _Reproduction) -> None:
    """Note what the process says until it ends."""
    outcome: dict[str, Any] | None = None
    with messages, suppress(EOFError, OSError):
        while outcome is None:
            said = messages.recv()
            if isinstance(said, int):
                begun.rows = said
            else:
                outcome = said
    process.join()
    begun.outcome = outcome or {
        "status": "failed",
        "error": f"the process ended with the code {process.exitcode}; the server's log may have the reason",
    }


def _reproduce(messages: Connection, pipeline: str, version: str) -> int:
    """Make a version again, in a process of its own; send the rows learned so far, then the outcome."""
    os.nice(_NICE)
    from flows.jobs.models.reproduction import Reproducer
    from flows.runtime.engine import load_engine

    rows, due = 0, time.monotonic() + _EVERY

    def advance(count: int) -> None:
        nonlocal rows, due
        rows += count
        if time.monotonic() >= due:
            messages.send(rows)
            due = time.monotonic() + _EVERY

    try:
        engine = load_engine(pipeline)
        with closing(engine.open_broker()) as broker:
            result = Reproducer(engine, broker).reproduce(version, advance).as_dict()
        messages.send(rows)
        messages.send({"status": "done", "result": result})
    except DriftlineError as error:
        messages.send({"status": "failed", "error": str(error)})
    except Exception:  # of the models' code, for example; the server goes on
        traceback.print_exc()
        messages.send({"status": "failed", "error": "internal error; the server's log has the details"})
        return 1
    return 0
