"""Unit tests start no process and open neither a connection nor a database; one that does fails.

Python reports these operations to audit hooks, so that neither a library nor a thread escapes. A hook stays
for the life of the process: `_watching` switches it on for the unit tests only.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

FORBIDDEN = {
    "os.exec": "replaces the process",
    "os.fork": "forks a process",
    "os.forkpty": "forks a process",
    "os.posix_spawn": "starts a process",
    "os.system": "starts a shell",
    "socket.bind": "binds a socket",
    "socket.connect": "opens a connection",
    "socket.getaddrinfo": "looks up a host",
    "sqlite3.connect": "opens an SQLite database",
    "subprocess.Popen": "starts a process",
}

_found: list[str] = []
_watching = False


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in FORBIDDEN:
        _found.append(f"a unit test {FORBIDDEN[event]}: {event}{arguments!r}; move it to another lane")
        pytest.fail(_found[-1])


sys.addaudithook(_audit)


@contextmanager
def _watched() -> Iterator[None]:
    """Fail what runs inside if it did anything forbidden, even where the code under test hid the failure."""
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False
        found, _found[:] = _found[:], []
    if found:
        pytest.fail(found[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    with _watched():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    with _watched():
        return (yield)
