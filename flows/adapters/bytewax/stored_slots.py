"""The states in a flow's recovery store: its slots, and the partitions that each of them reads."""

import io
import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from flows.adapters.bytewax.recovery import check_format
from flows.errors import StateError

_SOURCES = ("records", "signals")  # steps whose state is the offsets of a slot
_SINK = "publish"
_QUERY = (
    "SELECT step_id, state_key, ser_change FROM snaps "
    "WHERE ser_change IS NOT NULL AND ({steps}) ORDER BY snap_epoch"
)


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
    for step, key, state in _snapshots(directory, (*_SOURCES, _SINK)):
        slots.add(int(key))
        if step in _SOURCES:
            offsets[int(key)] = _plain(directory, state)
    return StoredSlots(max(slots) + 1, offsets)


def stored_states(directory: Path, step: str) -> list[bytes]:
    """Return the stored states of a step's keys, those of several epochs; none if there is no store.

    Raises as `stored_slots` does.
    """
    if not directory.is_dir():
        return []
    check_format(directory)
    return [_plain(directory, state) for _, _, state in _snapshots(directory, (step,))]


def _snapshots(directory: Path, steps: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yield (step, key, state) of some steps in the order of epochs.

    The last state of a key is the current one. Those of other steps, which may be large, are not read.
    """
    query = _QUERY.format(steps=" OR ".join(["step_id LIKE ?"] * len(steps)))
    try:
        for file in sorted(directory.glob("part-*.sqlite3")):
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as part:
                for step, key, state in part.execute(query, [f"%.{step}" for step in steps]):
                    yield step.rpartition(".")[2], key, state
    except sqlite3.Error as error:
        raise _unreadable(directory, error) from error


def _plain(directory: Path, state: bytes) -> Any:
    try:
        return _Plain(io.BytesIO(state)).load()
    except pickle.UnpicklingError as error:
        raise _unreadable(directory, error) from error


def _unreadable(directory: Path, error: Exception) -> StateError:
    return StateError(f"the flow's state in {directory} cannot be read: {error}; check its disk")


class _Plain(pickle.Unpickler):
    """Reads pickles without classes: texts, numbers and their containers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a plain state must not refer to {module}.{name}")
