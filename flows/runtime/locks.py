"""Locks in the state directory: no flow runs twice on one state, on one machine.

They end with the process that holds them, in whatever way it ends.
"""

import fcntl
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from flows.errors import EngineConflict
from flows.host import state_dir
from flows.runtime.broker_url import has_members
from flows.runtime.engine import Engine

_DRAINING = 5.0  # seconds that flows whose supervisor was killed get to end
_POLL = 0.1  # seconds


@contextmanager
def alone(running: Engine, flow: str) -> Iterator[None]:
    """Hold the lock of the flow while a block runs.

    Raises `EngineConflict` when another process on this machine runs the flow with the same state.
    """
    with _locked(running, flow, flow, fcntl.LOCK_EX):
        yield


@contextmanager
def one_of(running: Engine, flow: str, process: str) -> Iterator[None]:
    """Hold the lock of one of the flow's processes while a block runs.

    Raises `EngineConflict` when the process runs already, or the flow runs as a single process.
    """
    with _locked(running, flow, flow, fcntl.LOCK_SH), _locked(running, flow, process, fcntl.LOCK_EX):
        yield


def await_free(running: Engine, flows: Iterable[str]) -> None:
    """Wait a few seconds until none of the flows runs; raises `EngineConflict` if one still does."""
    deadline = time.monotonic() + _DRAINING
    for flow in flows:
        while True:
            try:
                with alone(running, flow):
                    break
            except EngineConflict:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_POLL)


@contextmanager
def _locked(running: Engine, flow: str, name: str, kind: int) -> Iterator[None]:
    file = running.recovery_dir(flow).with_name(f"{name}.lock")
    with ExitStack() as stack:
        with state_dir.explained(running.settings.state_dir):
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(file.open("w"))
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineConflict(
                f"another process runs {flow} of {running.pipeline.name} already, with the state in "
                f"{running.settings.state_dir}; stop that one first"
            ) from None
        yield


def is_running(running: Engine, flow: str) -> bool:
    """Whether a process of this state directory runs the flow, or on Kafka an engine anywhere."""
    try:
        with alone(running, flow):
            pass
    except EngineConflict:
        return True
    settings, group = running.settings, f"{running.pipeline.group(flow)}.engine"
    return has_members(settings.broker, settings.kafka_options, group)
