"""The recovery store of a flow: the directory in which Bytewax stores the flow's state.

Bytewax 0.21 stores the snapshots of an epoch one by one and marks the epoch as finished afterwards. A crash
in between leaves snapshots of an unfinished epoch. The next execution repeats that epoch but does not remove
them. If it has no state to store for such a key and epoch, the execution after it resumes from the leftover
snapshot, with offsets of another epoch. So leftover snapshots are removed here.
"""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bytewax.recovery import init_db_dir

from flows.core.stored_format import STATE
from flows.errors import ConfigError, StateError
from flows.host.file_locks import exclusive_lock
from flows.host.files import sync
from flows.host.state_dir import check_trusted, make_private

FORMAT_FILE = "format"  # names the format of the whole store


def prepare(directory: Path, partitions: int) -> None:
    """Create the store if it is missing, and remove leftover snapshots of unfinished epochs.

    Call it before each execution. All processes of a cluster may call it, because none of them stores state
    before the last one has started. Raises `StateError` for a failing disk, and `ConfigError` for a store of
    another format, or one that another user could have written: Bytewax unpickles its content.
    """
    with _explained(directory), _in_turn(directory):
        check_trusted(directory)
        if directory.is_dir():
            check_format(directory)
            forget_unfinished(directory)
        else:
            _create(directory, partitions)


def check_format(directory: Path) -> None:
    """Raise `ConfigError` if the store has another format than this version's."""
    file = directory / FORMAT_FILE
    found = file.read_text(errors="replace").strip() if file.exists() else None
    if mismatch := STATE.mismatch(found):
        raise ConfigError(
            f"the flow's state in {directory} {mismatch}; stop the flows, remove the folder "
            f"{directory.parent}, and start them again: the state is made from the topics"
        )


def forget_unfinished(directory: Path) -> None:
    """Remove the snapshots of unfinished epochs."""
    with ExitStack() as stack:
        files = sorted(directory.glob("part-*.sqlite3"))
        parts = [stack.enter_context(closing(sqlite3.connect(file))) for file in files]
        epoch = _resume_epoch(parts)
        for part in parts:
            with part:
                part.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))


@contextmanager
def explained_panics(directory: Path) -> Iterator[None]:
    """Raise `StateError` if Bytewax cannot store or read the state, which it reports as a Rust panic."""
    try:
        yield
    except BaseException as panic:  # PanicException is not an Exception, and no module exports it
        if "SqliteFailure" in str(panic):
            raise _refused(directory, _reason(str(panic))) from panic
        raise


def _create(directory: Path, partitions: int) -> None:
    """Create an empty store; it is renamed when it is complete, so that a crash leaves none or all of it."""
    unfinished = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    init_db_dir(unfinished, partitions)
    _write_format(unfinished / FORMAT_FILE)
    sync(unfinished)
    unfinished.rename(directory)


def _write_format(file: Path) -> None:
    file.touch(mode=0o600)  # not by the umask: `check_trusted` refuses a file that others can write
    file.write_text(f"{STATE}\n")
    sync(file)


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _refused(directory, str(error)) from error


def _refused(directory: Path, reason: str) -> StateError:
    return StateError(
        f"the flow's state in {directory} cannot be stored: {reason}; make room on its disk and check that "
        "it can be written; the flow then resumes from its last stored state"
    )


def _reason(panic: str) -> str:
    """Return SQLite's message from the text of a panic.

    >>> _reason('SqliteFailure(Error { code: DiskFull }, Some("database or disk is full"))')
    'database or disk is full'
    """
    return panic.partition('Some("')[2].partition('"')[0] or panic


def _resume_epoch(parts: Sequence[sqlite3.Connection]) -> int:
    """Return the epoch at which Bytewax will resume: that of the last execution's slowest worker."""
    executions = [
        row for part in parts for row in part.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
    ]
    if not executions:
        return 0
    last, workers, first = max(executions)
    query = "SELECT worker_index, worker_frontier FROM fronts WHERE ex_num = ?"
    reached: dict[int, int] = dict(row for part in parts for row in part.execute(query, (last,)))
    epoch: int = min(reached.get(worker, first) for worker in range(workers))
    return epoch


@contextmanager
def _in_turn(directory: Path) -> Iterator[None]:
    make_private(directory.parent)
    with exclusive_lock(directory.with_name(f"{directory.name}.turn")):
        yield
