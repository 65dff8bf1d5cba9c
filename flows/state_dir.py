"""The state directory: made before it is used, and a clear error where it cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC, ENOTDIR
from pathlib import Path
from tempfile import TemporaryFile

from flows.errors import ConfigError, DriftlineError, StateError


def make(directory: Path) -> None:
    """Make the state directory unless it is there, and check that it can be written.

    Raises `ConfigError` where it cannot, and `StateError` where the disk is full.
    """
    with explained(directory):
        check(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass


def check(directory: Path) -> None:
    """Raise `ConfigError` where something other than a directory is in its place."""
    with explained(directory):
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(ENOTDIR, "there is something else in its place")


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `DriftlineError` that names the state directory."""
    try:
        yield
    except OSError as error:
        raise _unusable(directory, error) from error


def remedy(error: OSError) -> str:
    """What to do about a file that cannot be written."""
    return "make room on its disk" if error.errno in (ENOSPC, EDQUOT) else "let this user write it"


def _unusable(directory: Path, error: OSError) -> DriftlineError:
    said = f"the state directory {directory} cannot be used: {error.strerror}"
    if error.errno in (ENOSPC, EDQUOT):
        return StateError(f"{said}; {remedy(error)}")
    return ConfigError(f"{said}; let this user write it, or set DRIFTLINE_STATE_DIR to another directory")
