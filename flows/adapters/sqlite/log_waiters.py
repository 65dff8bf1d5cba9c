"""Wakes the readers of the embedded log as soon as a writer, in any process, has committed.

A reader has a named pipe in a folder beside the log, under one name for each partition that it reads. A
writer sends a byte to the pipes of the partitions that it wrote. A pipe that nobody has open is left from a
killed process, and the next writer removes it. Where pipes cannot be made, a reader looks every few
milliseconds.
"""

import os
import select
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from errno import ENXIO
from pathlib import Path
from uuid import uuid4

from flows.host.state_dir import make_private

_WITHOUT_PIPE = 0.005  # seconds between two looks of a reader that nobody can wake
_MOST = 4096  # bytes


class Waiter:
    """What a reader of the log at `log` waits with; writers wake it when they write to `partition_ids`."""

    def __init__(self, log: Path, partition_ids: Iterable[int]) -> None:
        self._folder = Path(_folder(log))
        self._names = [self._folder / f"{id_}-{uuid4().hex}" for id_ in partition_ids]
        self.pipe: int | None = None
        with suppress(OSError):  # a file system without named pipes, or a full one
            self.pipe = self._open()

    def clear(self) -> None:
        """Forget that writers woke it."""
        if self.pipe is not None:
            with suppress(BlockingIOError):
                while len(os.read(self.pipe, _MOST)) == _MOST:
                    pass

    def close(self) -> None:
        """Remove the pipe."""
        for name in self._names:
            name.unlink(missing_ok=True)
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None

    def _open(self) -> int:
        make_private(self._folder)
        draft = self._folder / f"draft-{uuid4().hex}"  # writers remove a named pipe that nobody has open
        os.mkfifo(draft, 0o600)
        try:
            pipe = os.open(draft, os.O_RDWR | os.O_NONBLOCK)
            for name in self._names:
                name.hardlink_to(draft)
        finally:
            draft.unlink()
        return pipe


def wait_for(waiters: Sequence[Waiter], timeout: float) -> None:
    """Return as soon as a writer wakes one of `waiters`, after `timeout` seconds at the latest."""
    poller = select.poll()
    for waiter in waiters:
        if waiter.pipe is None:
            timeout = min(timeout, _WITHOUT_PIPE)
        else:
            poller.register(waiter.pipe, select.POLLIN)
    if poller.poll(max(0.0, timeout) * 1000):
        for waiter in waiters:
            waiter.clear()


def wake(log: Path, partition_ids: Collection[int]) -> None:
    """Wake the readers of these partitions of the log at `log`."""
    folder = _folder(log)
    try:
        names = os.listdir(folder)  # noqa: PTH208 (three times faster, for each send)
    except OSError:
        return  # nobody has waited yet
    written = set(map(str, partition_ids))
    for name in names:
        if name.partition("-")[0] in written:
            _poke(f"{folder}/{name}")


def _poke(name: str) -> None:
    try:
        pipe = os.open(name, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == ENXIO:  # nobody has it open
            Path(name).unlink(missing_ok=True)
        return
    with suppress(OSError):  # it is full, so the reader wakes anyway
        os.write(pipe, b"\0")
    os.close(pipe)


def _folder(log: Path) -> str:
    return f"{log}-waiters"
