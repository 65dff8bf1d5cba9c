"""The truths learned most recently, by event id, so that a repeated label is recognised."""

import zlib
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

import orjson

from flows.core.block_store import UNSTORED, StoredBlock
from flows.core.models.tasks import Truth

LEARNED_LIMIT = 200_000
ROWS = 1024  # truths in a block


class LearnedTruths:
    """The last `LEARNED_LIMIT` truths.

    Blocks repeat them in the form in which they are stored, so that a snapshot writes only new ones. The
    state has the addresses of the blocks that are in a store, and the content of all others. `released` are
    the addresses of blocks that were forgotten since the last snapshot.
    """

    def __init__(self) -> None:
        self._truths: OrderedDict[str, Truth] = OrderedDict()
        self.blocks: deque[StoredBlock] = deque()
        self._forgotten = 0  # truths of the oldest block
        self._newest: dict[str, Truth] = {}  # those that are in no block
        self.released: list[int] = []

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._truths

    def get(self, event_id: str) -> Truth | None:
        """Return the truth that was learned for an event, if it is known."""
        return self._truths.get(event_id)

    def add(self, event_id: str, truth: Truth) -> None:
        """Add the truth of an event that has none; forget the oldest one beyond the limit."""
        self._truths[event_id] = self._newest[event_id] = truth
        if len(self._newest) == ROWS:
            self.blocks.append(StoredBlock(zlib.compress(_to_json(self._newest), level=1)))
            self._newest = {}
        if len(self._truths) > LEARNED_LIMIT:
            self._forget_oldest()

    def index(self) -> None:
        """Read the truths in the blocks of a restored state, once these have their content."""
        pairs = [pair for block in self.blocks for pair in orjson.loads(zlib.decompress(block.content))]
        self._truths = OrderedDict(pairs[self._forgotten :])
        self._truths |= self._newest

    def __getstate__(self) -> tuple[Any, ...]:
        blocks = [block.content if block.address == UNSTORED else block.address for block in self.blocks]
        return blocks, self._forgotten, _to_json(self._newest)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        blocks, forgotten, newest = state
        LearnedTruths.__init__(self)
        self._forgotten = forgotten
        self.blocks += [
            StoredBlock(each) if isinstance(each, bytes) else StoredBlock(b"", each) for each in blocks
        ]
        self._newest = dict(orjson.loads(newest))
        if all(block.address == UNSTORED for block in self.blocks):
            self.index()

    def _forget_oldest(self) -> None:
        oldest, _ = self._truths.popitem(last=False)
        if not self.blocks:
            del self._newest[oldest]
            return
        self._forgotten += 1
        if self._forgotten == ROWS:
            self._forgotten = 0
            if (address := self.blocks.popleft().address) != UNSTORED:
                self.released.append(address)


def _to_json(truths: Mapping[str, Truth]) -> bytes:
    return orjson.dumps(list(truths.items()))
