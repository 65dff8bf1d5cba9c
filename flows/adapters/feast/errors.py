"""Errors of Feast and its stores as one-line errors with advice."""

import sqlite3
from collections.abc import Iterator

from redis import RedisError

from flows.errors import ConfigError, DriftlineError, StoreError


def explained(error: Exception, doing: str) -> DriftlineError:
    """Return `StoreError` for an error of a store, else `ConfigError`: Feast refused a declaration."""
    if isinstance(error, OSError | sqlite3.Error | RedisError):
        return StoreError(f"{doing}: {line(error)}; check that the store runs and that its disk has room")
    return ConfigError(f"{doing}: {line(error)}; correct the declarations and apply again")


def line(error: BaseException) -> str:
    """Return the name of the error's class and the first line of its text."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def refuse(what: str, faults: Iterator[str]) -> None:
    """Raise `ConfigError` with the first of the faults, if there is one; later ones are not computed."""
    fault = next(faults, None)
    if fault is not None:
        raise ConfigError(f"{what}: {fault}")
