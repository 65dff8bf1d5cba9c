"""The slots in a flow's recovery store, and the partitions that each of them reads."""

import io
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from flows.adapters.bytewax.recovery import check_format
from flows.errors import StateError

_SOURCES = ("records", "signals")  # steps whose state is the offsets of a slot
_SINK = "publish"
_QUERY = "SELECT step_id, state_key, ser_change FROM snaps WHERE ser_change IS NOT NULL ORDER BY snap_epoch"


class StoredSlots(NamedTuple):
    """The number of slots, and the offsets of each by "topic/partition"."""

    slots: int
    offsets: dict[int, dict[str, int]]


def stored_slots(directory: Path) -> StoredSlots:
    """Return the slots in a flow's recovery store, no slots if there is no store.

    Raises `StateError` for a store that cannot be read, and `ConfigError` for one of another format.
    """
    if not directory.is_dir():
        return StoredSlots(0, {})
    check_format(directory)
    slots, offsets = {-1}, {}
    for step, key, state in _snapshots(directory):
        name = step.rpartition(".")[2]
        if name in (*_SOURCES, _SINK):
            slots.add(int(key))
        if name in _SOURCES:
            offsets[int(key)] = _offsets(directory, state)
    return StoredSlots(max(slots) + 1, offsets)


def _snapshots(directory: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield (step, key, state) in the order of epochs; the last state of a key is the current one."""
    try:
        for file in sorted(directory.glob("part-*.sqlite3")):
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as part:
                yield from part.execute(_QUERY)
    except sqlite3.Error as error:
        raise _unreadable(directory, error) from error


def _offsets(directory: Path, state: bytes) -> dict[str, int]:
    try:
        offsets: dict[str, int] = _Plain(io.BytesIO(state)).load()
    except pickle.UnpicklingError as error:
        raise _unreadable(directory, error) from error
    return offsets


def _unreadable(directory: Path, error: Exception) -> StateError:
    return StateError(f"the flow's state in {directory} cannot be read: {error}; check its disk")


class _Plain(pickle.Unpickler):
    """Reads pickles without classes: texts, numbers and their containers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"offsets must not refer to {module}.{name}")
