"""Blocks of pending predictions, compressed together because they have their structure in common."""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from flows.core.block_store import UNSTORED, StoredBlock
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction

ROWS = 16  # at most in a block; a label that comes out of order decompresses all of them


class Pending(NamedTuple):
    """A prediction without a label yet, and the predictions of the baselines at the same time."""

    prediction: Prediction
    majority: Score
    no_change: Score


class PendingBlock(StoredBlock):
    """Pending predictions; `live` has a bit for each one that is still in the block."""

    __slots__ = ("_rows", "live")

    def __init__(self, content: bytes, live: int, address: int = UNSTORED) -> None:
        super().__init__(content, address)
        self.live = live
        self._rows: Sequence[bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the block is decompressed."""
        return self._rows is not None

    def open(self) -> Sequence[bytes]:
        """Return all rows, decompressed until `close`."""
        if self._rows is None:
            self._rows = zlib.decompress(self.content).split(b"\n")
        return self._rows

    def close(self) -> None:
        """Free the decompressed rows."""
        self._rows = None

    def rows(self) -> list[bytes]:
        """Return the rows that are still in the block."""
        return [row for at, row in enumerate(self.open()) if self.live >> at & 1] if self.live else []

    def first(self) -> Pending:
        """Return the first prediction that is still in the block."""
        return from_row(self.open()[(self.live & -self.live).bit_length() - 1])

    def remove(self, event_id: str) -> bytes:
        """Remove and return the row of an event that is in the block."""
        begin = b"[" + orjson.dumps(event_id) + b","
        rows = self.open()
        at = next(at for at, row in enumerate(rows) if row.startswith(begin))
        self.live &= ~(1 << at)
        return rows[at]


def packed(rows: Sequence[bytes]) -> PendingBlock:
    """Return a block of these rows."""
    return PendingBlock(zlib.compress(b"\n".join(rows), level=1), (1 << len(rows)) - 1)


def to_row(pending: Pending) -> bytes:
    """Return a pending prediction as one line, which begins with its id."""
    return orjson.dumps([*pending.prediction, pending.majority, pending.no_change])


def from_row(row: bytes) -> Pending:
    """Return the prediction that `to_row` was given."""
    *served, majority, no_change = orjson.loads(row)
    return Pending(Prediction(*served), majority, no_change)


def ids(rows: Iterable[bytes]) -> list[str]:
    """Return the ids of rows."""
    return [orjson.loads(row)[0] for row in rows]
