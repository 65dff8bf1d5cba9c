"""The state directory: readable by its owner only, like the secret in it.

Bytewax unpickles what it finds in the recovery store, so whoever can write there runs code as the engine.
"""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC, ENOTDIR
from pathlib import Path

from flows.errors import ConfigError, DriftlineError, StateError
from flows.host.files import sync

SECRET_BYTES = 32  # at least, of a secret that a person sets

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


def make(directory: Path) -> None:
    """Make the state directory unless it is there, and check that it can be written.

    Raises `ConfigError` where it cannot, and `StateError` where the disk is full.
    """
    with explained(directory):
        check(directory)
        make_private(directory)
        with tempfile.TemporaryFile(dir=directory):
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


def make_private(directory: Path) -> None:
    """Make a directory and its missing parents, for their owner only; one that exists stays as it is."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def made_once(file: Path) -> bytes:
    """Return the file's random text, made on first use and readable by its owner only.

    It appears as a whole, also when several flows make it at once: the first one's link stays.
    """
    if not file.exists():
        make_private(file.parent)
        handle, own = tempfile.mkstemp(dir=file.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w") as out:
                out.write(secrets.token_hex(SECRET_BYTES))
                out.flush()
                os.fsync(out.fileno())
            with suppress(FileExistsError):
                os.link(own, file)
            sync(file.parent)
        finally:
            Path(own).unlink()
    return file.read_bytes()


def secret(file: Path) -> bytes:
    """Return the project's own secret, made on first use.

    Raises `ConfigError` for a file that others can read or that is too short to be one.
    """
    content = made_once(file)
    status = file.stat()
    if status.st_mode & _OTHERS:
        raise ConfigError(
            f"{file} must be readable by its owner only, got mode {stat.S_IMODE(status.st_mode):04o}; run "
            f"`chmod 600 {file}`. Who has read it can sign models: if that may be, remove the state directory"
        )
    check_secret(str(file), content)
    return content


def check_secret(name: str, content: bytes) -> None:
    """Raise `ConfigError` for a secret that is too short to keep."""
    if len(content) < SECRET_BYTES:
        raise ConfigError(
            f"{name} must have at least {SECRET_BYTES} bytes, got {len(content)}; make one with "
            "`openssl rand -hex 32`"
        )


def check_trusted(folder: Path) -> None:
    """Raise `ConfigError` where somebody else could have written what is in `folder`, if it is there."""
    for path in (folder, *folder.glob("*")):
        with suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_uid not in (os.geteuid(), _ROOT):
                raise ConfigError(
                    f"{path} must be owned by the user who runs the flows (uid {os.geteuid()}), got uid "
                    f"{status.st_uid}; a stored state can run code. Run `chown` if you trust it, or remove it"
                )
            if status.st_mode & _OTHERS_WRITE:
                raise ConfigError(
                    f"{path} must be writable by its owner only, got mode {stat.S_IMODE(status.st_mode):04o}"
                    f"; a stored state can run code. Run `chmod go-w {path}` if you trust it, or remove it"
                )
