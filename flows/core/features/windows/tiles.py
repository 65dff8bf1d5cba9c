"""Windows that move in steps of a slide interval, over tiles instead of records: bounded memory per entity.

Tile k of slide s aggregates the records in ((k - 1) s, k s]. A question asked at t is answered from the tiles
up to the last complete one, so the answer depends on nothing after t and changes once per slide. A view keeps
at most (longest window + delay + lateness) / slide + 2 tiles for an entity.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

import orjson

from flows.core.features.plan import View
from flows.core.features.windows.methods import COPIED
from flows.core.features.windows.partials import Partial, kind_of, partial
from flows.core.features.windows.sliding import LONG_AGO, Outcome, Value

_HEAD = Struct("<qq")


class _Layout:
    """The partial aggregates of each tile, and which of them each feature is read from."""

    def __init__(self, view: View) -> None:
        index = {column: number for number, column in enumerate(view.columns)}
        wanted = [(kind_of(a.function), index.get(a.column, -1)) for a in view.aggregates]
        self.partials = list(dict.fromkeys(wanted))
        self.lengths = list(dict.fromkeys(a.window // view.slide for a in view.aggregates))
        self.outputs = [
            (a.function, self.lengths.index(a.window // view.slide), self.partials.index(want))
            for a, want in zip(view.aggregates, wanted, strict=True)
        ]

    def tile(self) -> list[Partial]:
        return [partial(kind) for kind, _ in self.partials]


class TileState:
    """The tiles of one view for one entity. Same interface as `WindowState`."""

    __slots__ = (
        "_answered",
        "_answers",
        "_forgotten",
        "_layout",
        "_newest",
        "_order",
        "_seen",
        "_tiles",
        "_view",
        "lateness",
        "newest_record",
    )

    def __init__(self, view: View, lateness: int) -> None:
        self._view = view
        self.lateness = lateness
        self._layout = _layout(view)
        self._tiles: dict[int, list[Partial]] = {}
        self._order: list[int] = []  # tile numbers, sorted
        self._seen: dict[str, int] = {}
        self._forgotten = 0  # ids
        self._newest = self.newest_record = LONG_AGO
        self._answered: int | None = None  # the last tile of the cached answers
        self._answers: list[list[Partial]] = []  # by window

    def add(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Add a record; one with a known id, or later than the lateness, changes nothing."""
        if record_id in self._seen:
            return "duplicate"
        if time < self.newest_record - self.lateness:
            return "late"
        slide = self._view.slide
        number = (time + slide - 1) // slide
        tile = self._tiles.get(number)
        if tile is None:
            tile = self._tiles[number] = self._layout.tile()
            insort(self._order, number)
        for (_, column), part in zip(self._layout.partials, tile, strict=True):
            part.add(time, values[column] if column >= 0 else None)
        if self._answered is not None and number <= self._answered:
            self._answered = None
        self._seen[record_id] = time
        self.newest_record = max(self.newest_record, time)
        self._newest = max(self._newest, time)
        self._forget_ids()
        return "added"

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        """Return the view's features as of `time`, in its order."""
        self._newest = max(self._newest, time)
        last = (time - self._view.delay) // self._view.slide
        if last != self._answered:
            self._answers = [self._merged(last - length, last) for length in self._layout.lengths]
            self._answered = last
            self._drop_expired()
        return [
            self._answers[window][which].result(function, time)
            for function, window, which in self._layout.outputs
        ]

    @property
    def expires(self) -> int:
        """The time (ms) from which on the state equals that of an unseen entity."""
        view = self._view
        return self._newest + self.lateness + view.delay + view.longest + view.slide

    def snapshot(self) -> bytes:
        """Return the tiles as bytes."""
        tiles = [[number, [part.dump() for part in self._tiles[number]]] for number in self._order]
        return _HEAD.pack(self._newest, self.newest_record) + orjson.dumps([tiles, self._seen])

    def restore(self, state: bytes) -> None:
        """Restore what `snapshot` returned."""
        self._newest, self.newest_record = _HEAD.unpack_from(state)
        tiles, self._seen = orjson.loads(state[_HEAD.size :])
        self._answered = None
        for number, dumped in tiles:
            self._tiles[number] = tile = self._layout.tile()
            for part, saved in zip(tile, dumped, strict=True):
                part.load(saved)
        self._order = [number for number, _ in tiles]

    def _merged(self, after: int, last: int) -> list[Partial]:
        order = self._order
        numbers = order[bisect_right(order, after) : bisect_right(order, last)]
        return _merge(self._layout.tile(), (self._tiles[number] for number in numbers))

    def _forget_ids(self) -> None:
        seen, oldest = self._seen, self.newest_record - self.lateness
        while seen[first := next(iter(seen))] < oldest:
            del seen[first]
            self._forgotten += 1
            if len(seen) > COPIED and not self._forgotten % COPIED:
                self._seen = seen = dict(seen)

    def _drop_expired(self) -> None:
        view = self._view
        oldest = (self._newest - self.lateness - view.delay - view.longest) // view.slide
        expired = bisect_left(self._order, oldest)
        for number in self._order[:expired]:
            del self._tiles[number]
        del self._order[:expired]


def _merge(into: list[Partial], tiles: Iterable[list[Partial]]) -> list[Partial]:
    for tile in tiles:
        for whole, part in zip(into, tile, strict=True):
            whole.merge(part)
    return into


@lru_cache(maxsize=1024)
def _layout(view: View) -> _Layout:
    return _Layout(view)
