"""Locks on files (`flock`). The system releases the lock of a process that died."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive_lock(file: Path) -> Iterator[None]:
    """Wait for the lock, and hold it while the block runs; creates the file."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def try_exclusive_lock(file: Path) -> Iterator[bool]:
    """Hold the lock while the block runs, if nobody else holds it; yields whether it does."""
    with _try_lock(file, fcntl.LOCK_EX) as held:
        yield held


@contextmanager
def try_shared_lock(file: Path) -> Iterator[bool]:
    """Share the lock while the block runs, if nobody holds it exclusively; yields whether it does."""
    with _try_lock(file, fcntl.LOCK_SH) as held:
        yield held


@contextmanager
def _try_lock(file: Path, kind: int) -> Iterator[bool]:
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            held = False
        else:
            held = True
        yield held
