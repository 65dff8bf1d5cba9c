"""Pending predictions: the newest as they are, older ones in compressed blocks.

Most labels come for the newest predictions, which cost little to keep. A block is compressed once and never
changed, so that a snapshot refers to it instead of containing it.
"""

from array import array
from collections import OrderedDict, deque
from typing import Any

from flows.core.block_store import UNSTORED
from flows.core.evaluation.pending_block import ROWS, Pending, PendingBlock, from_row, ids, packed, to_row

NEWEST = 4096  # predictions that are in no block: those of several seconds, for which most labels come
_OPENED = 8  # decompressed blocks, since labels come roughly in the order of their predictions
_MERGED = 4  # blocks that are examined for each new one


class PendingPredictions:
    """Pending predictions by event id, in the order in which they were added.

    The state has the addresses of the blocks that are in a store, and the content of all others. `released`
    are the addresses of blocks that are empty since the last snapshot.
    """

    def __init__(self) -> None:
        # OrderedDict: finding the first item of a dict takes time for every item deleted before it.
        self._newest: OrderedDict[str, Pending] = OrderedDict()
        self._packed: dict[str, PendingBlock] = {}  # the block of each older prediction
        self.blocks: list[PendingBlock] = []  # oldest first
        self._cursor = 0  # the next block to merge
        self.released: list[int] = []
        self._opened: deque[PendingBlock] = deque()
        self._first: Pending | None = None  # the oldest one, if known

    def __len__(self) -> int:
        return len(self._newest) + len(self._packed)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._newest or event_id in self._packed

    def add(self, pending: Pending) -> None:
        """Add a prediction whose id is not pending."""
        self._newest[pending.prediction.id] = pending
        if len(self._newest) >= NEWEST + ROWS:
            moved = dict(self._newest.popitem(last=False) for _ in range(ROWS))
            block = packed(list(map(to_row, moved.values())))
            self.blocks.append(block)
            self._packed |= dict.fromkeys(moved, block)
            self._merge_some()

    def pop(self, event_id: str) -> Pending | None:
        """Remove and return the prediction of an event; None if it is not pending."""
        first = self._first
        is_first = first is not None and first.prediction.id == event_id
        if is_first:
            self._first = None
        found = self._newest.pop(event_id, None)
        if found is None and event_id in self._packed:
            row = self._remove_row(event_id)
            found = first if is_first else from_row(row)
        return found

    def oldest(self) -> Pending | None:
        """Return the prediction that was added first; None if there is none."""
        if self._first is None:
            self._first = self._find_first()
        return self._first

    def index(self) -> None:
        """Find the predictions in the blocks of a restored state, once these have their content."""
        for block in self.blocks:
            self._packed |= dict.fromkeys(ids(block.rows()), block)
            block.close()

    def __getstate__(self) -> tuple[Any, ...]:
        contents = [block.content for block in self.blocks if block.address == UNSTORED]
        return (
            b"\n".join(map(to_row, self._newest.values())),
            array("Q", [block.address for block in self.blocks]).tobytes(),
            array("H", [block.live for block in self.blocks]).tobytes(),
            contents,
            self._cursor,
        )

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        newest, addresses, live, contents, cursor = state
        PendingPredictions.__init__(self)
        self._cursor = cursor
        unstored = iter(contents)
        for address, bits in zip(array("Q", addresses), array("H", live), strict=True):
            content = next(unstored) if address == UNSTORED else b""
            self.blocks.append(PendingBlock(content, bits, address))
        for row in newest.splitlines():
            pending = from_row(row)
            self._newest[pending.prediction.id] = pending
        if all(block.address == UNSTORED for block in self.blocks):
            self.index()

    def _remove_row(self, event_id: str) -> bytes:
        block = self._packed.pop(event_id)
        self._keep_open(block)
        row = block.remove(event_id)
        if not block.live:
            self._empty(block)
        return row

    def _find_first(self) -> Pending | None:
        while self.blocks and not self.blocks[0].live:
            del self.blocks[0]
        if not self.blocks:
            return next(iter(self._newest.values()), None)
        self._keep_open(self.blocks[0])
        return self.blocks[0].first()

    def _keep_open(self, block: PendingBlock) -> None:
        if not block.is_open:
            block.open()
            self._opened.append(block)
            if len(self._opened) > _OPENED:
                self._opened.popleft().close()

    def _empty(self, block: PendingBlock) -> None:
        """Forget the content of a block."""
        if block.address != UNSTORED:
            self.released.append(block.address)
        block.live, block.content, block.address = 0, b"", UNSTORED
        block.close()

    def _merge_some(self) -> None:
        """Merge neighbours that fit into one block, so that the size follows the number that is pending."""
        for _ in range(_MERGED):
            at = self._cursor
            if at + 1 >= len(self.blocks):
                self._cursor = 0
                return
            one, other = self.blocks[at : at + 2]
            if one.live.bit_count() + other.live.bit_count() > ROWS:
                self._cursor += 1
            else:
                self.blocks[at : at + 2] = self._merged(one, other)

    def _merged(self, one: PendingBlock, other: PendingBlock) -> list[PendingBlock]:
        if not (one.live and other.live):
            return [block for block in (one, other) if block.live]
        rows = one.rows() + other.rows()
        merged = packed(rows)
        self._packed |= dict.fromkeys(ids(rows), merged)
        self._empty(one)
        self._empty(other)
        return [merged]
