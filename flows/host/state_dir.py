"""The state directory and the secret in it, which only their owner may read.

Bytewax unpickles the recovery store, so whoever can write there can run code as the engine.
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

SECRET_BYTES = 32  # the minimum length of a secret

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


def make(directory: Path) -> None:
    """Create the state directory if it does not exist, and check that it can be written.

    Raises `ConfigError` if it cannot, and `StateError` if the disk is full.
    """
    with explained(directory):
        check(directory)
        make_private(directory)
        with tempfile.TemporaryFile(dir=directory):
            pass


def check(directory: Path) -> None:
    """Raise `ConfigError` if the path exists and is not a directory."""
    with explained(directory):
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(ENOTDIR, "there is something else in its place")


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn an `OSError` into a `DriftlineError` that names the state directory."""
    try:
        yield
    except OSError as error:
        raise _unusable(directory, error) from error


def remedy(error: OSError) -> str:
    """Return what to do about a file that cannot be written."""
    return "make room on its disk" if error.errno in (ENOSPC, EDQUOT) else "let this user write it"


def _unusable(directory: Path, error: OSError) -> DriftlineError:
    said = f"the state directory {directory} cannot be used: {error.strerror}"
    if error.errno in (ENOSPC, EDQUOT):
        return StateError(f"{said}; {remedy(error)}")
    return ConfigError(f"{said}; let this user write it, or set DRIFTLINE_STATE_DIR to another directory")


def make_private(directory: Path) -> None:
    """Create a directory and its missing parents with mode 0700; existing ones are unchanged."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def made_once(file: Path) -> bytes:
    """Return the file's random text, which is created on first use with mode 0600.

    Creation is atomic: if several processes create the file, all of them return the text of the first.
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
    """Return the project's secret, which is created on first use.

    Raises `ConfigError` if others can read the file, or if the secret is too short.
    """
    content = made_once(file)
    status = file.stat()
    if status.st_mode & _OTHERS:
        raise ConfigError(
            f"{file} must be readable by its owner only, got mode {stat.S_IMODE(status.st_mode):04o}; run "
            f"`chmod 600 {file}`. Whoever has read it can sign models: if so, remove the state directory"
        )
    check_secret(str(file), content)
    return content


def check_secret(name: str, content: bytes) -> None:
    """Raise `ConfigError` if the secret is too short."""
    if len(content) < SECRET_BYTES:
        raise ConfigError(
            f"{name} must have at least {SECRET_BYTES} bytes, got {len(content)}; make one with "
            "`openssl rand -hex 32`"
        )


def check_trusted(folder: Path) -> None:
    """Raise `ConfigError` if another user could have written `folder` or a file in it."""
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
