"""The file of tokens: made by `driftline tokens`, and read again by the server when it changes."""

import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from flows.core.serving.access.tokens import PREFIX, Tokens
from flows.errors import ConfigError
from flows.host.file_locks import exclusive_lock
from flows.host.files import replacing, sync
from flows.host.state_dir import explained, make_private, remedy

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class TokenFile:
    """The tokens in a file; a file that does not exist has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None  # of the file that was read last
        self._tokens = Tokens()

    def read(self) -> Tokens:
        """Return the tokens; reads the file only if it changed. Raises `ConfigError`."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen, self._tokens = None, Tokens()
            return self._tokens
        except OSError as error:
            raise ConfigError(f"the tokens {self._path} cannot be read: {error.strerror}") from None
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen != self._seen:
            if status.st_mode & _OTHERS_WRITE:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise ConfigError(
                    f"{self._path} must be writable by its owner only, got mode {mode}; run `chmod 600` on it"
                )
            self._tokens, self._seen = self._parsed(), seen
        return self._tokens

    def change(self, change: Callable[[Tokens], Tokens]) -> None:
        """Replace the tokens by what `change` returns; raises `ConfigError`."""
        folder = self._path.parent
        with explained(folder):
            make_private(folder)
            with exclusive_lock(self._path.with_name(f"{self._path.name}.lock")):
                content = change(self.read()).to_json()
                self._write(content)

    def _write(self, content: bytes) -> None:
        try:
            with replacing(self._path) as unfinished:
                unfinished.touch(mode=0o600)
                unfinished.write_bytes(content)
            sync(self._path.parent)
        except OSError as error:
            raise ConfigError(
                f"the tokens cannot be written to {self._path}: {error.strerror}; {remedy(error)}"
            ) from error

    def _parsed(self) -> Tokens:
        try:
            return Tokens.from_json(self._path.read_bytes())
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{self._path} must be as `driftline tokens` writes it: {error}; correct it, or remove it "
                "and make new tokens"
            ) from None


def new_secret() -> str:
    """Return a new secret of a token."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"
