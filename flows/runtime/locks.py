"""Locks in the state directory, which keep a flow from running twice on one state and machine.

The system releases the locks of a process that died.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from flows.errors import EngineConflict
from flows.host import state_dir
from flows.host.file_locks import try_exclusive_lock, try_shared_lock
from flows.runtime.state import PipelineState

_DRAINING = 5.0  # seconds that the flows of a killed supervisor get to drain
_POLL = 0.1  # seconds

_TryLock = Callable[[Path], AbstractContextManager[bool]]


@contextmanager
def alone(state: PipelineState, flow: str) -> Iterator[None]:
    """Hold the lock of the flow while the block runs.

    Raises `EngineConflict` when another process on this machine runs the flow with the same state.
    """
    with _locked(state, flow, flow, try_exclusive_lock):
        yield


@contextmanager
def one_of(state: PipelineState, flow: str, process: str) -> Iterator[None]:
    """Hold the lock of one of the flow's processes while the block runs.

    Raises `EngineConflict` when that process is running, or the flow runs as a single process.
    """
    with (
        _locked(state, flow, flow, try_shared_lock),
        _locked(state, flow, process, try_exclusive_lock),
    ):
        yield


def await_free(state: PipelineState, flows: Iterable[str]) -> None:
    """Wait a few seconds until none of the flows runs; raises `EngineConflict` if one still does."""
    deadline = time.monotonic() + _DRAINING
    for flow in flows:
        _await_one(state, flow, deadline)


def _await_one(state: PipelineState, flow: str, deadline: float) -> None:
    while True:
        try:
            with alone(state, flow):
                return
        except EngineConflict:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL)


def runs_here(state: PipelineState, flow: str) -> bool:
    """Return whether a process with this state directory runs the flow."""
    try:
        with alone(state, flow):
            return False
    except EngineConflict:
        return True


@contextmanager
def _locked(state: PipelineState, flow: str, process: str, try_lock: _TryLock) -> Iterator[None]:
    file = state.lock_file(process)
    with ExitStack() as stack:
        with state_dir.explained(state.root):
            file.parent.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context(try_lock(file))
        if not held:
            raise EngineConflict(
                f"another process runs {flow} of {state.pipeline} already, with the state in {state.root}; "
                "stop that one first"
            )
        yield
