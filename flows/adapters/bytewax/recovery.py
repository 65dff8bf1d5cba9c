"""The directory in which Bytewax stores the state of a flow: made once, and mended before each start.

Bytewax 0.21 stores the snapshots of an epoch one by one and marks the epoch as finished afterwards. A crash
in between leaves snapshots of an epoch that never finished. The next execution begins that epoch anew, but
does not remove them; where it has nothing to store for the same key and epoch, they stay, and one execution
later they are taken for the key's state, beside offsets that are another's. So they are removed here.
"""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bytewax.recovery import init_db_dir

from flows.errors import StateError
from flows.host.file_locks import exclusive_lock
from flows.host.state_dir import check_trusted, make_private


def prepare(directory: Path, partitions: int) -> None:
    """Make the directory unless it is there, and forget what an execution that crashed left unfinished.

    Bytewax unpickles what is in it, so it must be nobody else's; raises `ConfigError` where it may be.

    To be called before each execution. The processes of one cluster may all do so: none of them stores
    anything before the last one has started. Raises `StateError` when the disk refuses.
    """
    with _explained(directory), _in_turn(directory):
        check_trusted(directory)
        if directory.is_dir():
            forget_unfinished(directory)
        else:
            unfinished = directory.with_name(
                f"{directory.name}.new"
            )  # renamed when whole, lest we are killed
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            init_db_dir(unfinished, partitions)
            unfinished.rename(directory)


def forget_unfinished(directory: Path) -> None:
    """Remove the snapshots of epochs that no execution finished."""
    with ExitStack() as stack:
        files = sorted(directory.glob("part-*.sqlite3"))
        parts = [stack.enter_context(closing(sqlite3.connect(file))) for file in files]
        epoch = _resume_epoch(parts)
        for part in parts:
            with part:
                part.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))


@contextmanager
def running(directory: Path) -> Iterator[None]:
    """Raise `StateError` where Bytewax could not store or read the state: it tells so by a Rust panic."""
    try:
        yield
    except BaseException as panic:  # PanicException, which no module exports, is no Exception
        if "SqliteFailure" in str(panic):
            raise _refused(directory, _reason(str(panic))) from panic
        raise


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _refused(directory, str(error)) from error


def _refused(directory: Path, reason: str) -> StateError:
    return StateError(
        f"the flow's state in {directory} cannot be stored: {reason}; make room on its disk and see that it "
        "can be written, and the flow goes on from the state that it stored last"
    )


def _reason(panic: str) -> str:
    """SQLite's own words in the text of a panic.

    >>> _reason('SqliteFailure(Error { code: DiskFull }, Some("database or disk is full"))')
    'database or disk is full'
    """
    return panic.partition('Some("')[2].partition('"')[0] or panic


def _resume_epoch(parts: Sequence[sqlite3.Connection]) -> int:
    """The epoch at which Bytewax will resume: how far the slowest worker of the last execution came."""
    executions = [
        row for part in parts for row in part.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
    ]
    if not executions:
        return 0
    last, workers, began = max(executions)
    query = "SELECT worker_index, worker_frontier FROM fronts WHERE ex_num = ?"
    came: dict[int, int] = dict(row for part in parts for row in part.execute(query, (last,)))
    epoch: int = min(came.get(worker, began) for worker in range(workers))
    return epoch


@contextmanager
def _in_turn(directory: Path) -> Iterator[None]:
    make_private(directory.parent)
    with exclusive_lock(directory.with_name(f"{directory.name}.turn")):
        yield
