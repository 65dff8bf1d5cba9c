"""Exact sliding windows over the records of one entity in one stream, as of any event time.

A window of length w, asked at t, holds the records with a time in (t - w, t]. Records may arrive out of order
and questions may be about the past. As long as the records of that time are kept, the answer equals a full
recomputation.

The records are sorted by time, so a window is two positions. Cumulative sums are kept with the records: the
sum over a window is the difference of two of them, and nothing moves when a window does. Extremes are read
from the records that no later one beats (see `extremes`). Distinct values and quantiles follow the positions
(see `followers`).
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from struct import Struct
from typing import Any, ClassVar, Literal

import orjson

from flows.core.features.plan import View
from flows.core.features.windows import exact
from flows.core.features.windows.extremes import Extremes
from flows.core.features.windows.followers import Follower, follower
from flows.core.features.windows.layout import Layout
from flows.core.features.windows.methods import lengths_of, methods

Value = int | float | str | None
Outcome = Literal["added", "duplicate", "late"]

LONG_AGO = -(2**62)
NEVER = 2**62
_NO_IDS: list[str] = []
_HEAD = Struct("<qqI")


class WindowState:
    """The kept records of one view for one entity, and the view's windows over them.

    Each view has its own class, `windows_of(view, lateness)`, with generated methods `add` and `ask`.
    `lateness` (ms) is how far behind the newest time a record or a question may be and still get the exact
    answer. Ids are remembered as long, to recognize duplicates.
    """

    __slots__ = (
        "answered",
        "base",
        "extremes",
        "followers",
        "ids",
        "kept",
        "newest",
        "newest_record",
        "seen",
        "stop",
        "sums",
        "times",
    )
    WORTH_DROPPING = 64  # expired records are dropped in batches of this size
    RECORDS = 100_000  # records kept at most; beyond that the oldest are dropped early
    _layout: ClassVar[Layout]
    _lateness: ClassVar[int]

    def __init__(self) -> None:
        layout = self._layout
        self.times = array("q")
        # tuples, because the empty one is shared: the memory of a cold entity is that of its objects
        self.kept: tuple[Any, ...] = tuple([array("d") if numeric else [] for _, numeric in layout.kept])
        self.sums = tuple([[0] for _ in layout.sums])  # in units; before each record and after the last
        self.extremes: tuple[Extremes, ...] = tuple([Extremes(kind) for kind, _ in layout.extremes])
        self.followers: tuple[Follower, ...] = tuple([follower(kind) for kind, _, _ in layout.followers])
        # in the order of `times`, only if a question must find its own record
        self.ids: list[str] = [] if layout.excludes_own else _NO_IDS
        self.seen: dict[str, int] = {}  # id to time
        self.base = 0  # number of records dropped so far
        # the end of the last answer's windows while `stop`, `start0`, `start1`, ... are their positions
        self.answered = NEVER
        self.newest = LONG_AGO  # the newest time seen, of a record or a question
        self.newest_record = LONG_AGO

    def add(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Add a record; one with a known id, or later than the lateness, changes nothing."""
        raise NotImplementedError  # generated for each view

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        """Return the view's features as of `time`, without the record `own_id` if the view excludes it.

        In an empty window counts and sums are 0, and all other features None.
        """
        raise NotImplementedError  # generated for each view

    def add_other(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Add a record that is older than the newest, late, or a duplicate."""
        if record_id in self.seen:
            return "duplicate"
        oldest = self.newest_record - self._lateness
        if time < oldest or time <= self.newest - self._lateness - self._layout.reach:
            return "late"
        self._insert(bisect_right(self.times, time), time, record_id, values)
        self.seen[record_id] = time
        return "added"

    @property
    def expires(self) -> int:
        """The time (ms) from which on the state equals that of an unseen entity."""
        return self.newest + self._lateness + self._layout.reach

    def snapshot(self) -> bytes:
        """Return the records as bytes; everything else follows from them."""
        texts = [kept for kept in self.kept if not isinstance(kept, array)]
        numbers = [kept for kept in self.kept if isinstance(kept, array)]
        head = _HEAD.pack(self.newest, self.newest_record, len(self.times))
        rest = orjson.dumps([texts, self.ids or self.seen])
        return b"".join([head, self.times.tobytes(), *(column.tobytes() for column in numbers), rest])

    def restore(self, state: bytes) -> None:
        """Restore what `snapshot` returned."""
        layout = self._layout
        self.newest, self.newest_record, count = _HEAD.unpack_from(state)
        arrays = [kept for kept in self.kept if isinstance(kept, array)]
        at = _HEAD.size
        for numbers in (self.times, *arrays):
            numbers.frombytes(state[at : at + 8 * count])
            at += 8 * count
        texts, ids = orjson.loads(state[at:])
        for number, kept in enumerate(kept for kept in self.kept if not isinstance(kept, array)):
            kept.extend(texts[number])
        columns = dict(zip((column for column, _ in layout.kept), self.kept, strict=True))
        for sums, (column, power) in zip(self.sums, layout.sums, strict=True):
            sums.extend(accumulate(exact.fixed(value) ** power for value in columns[column]))
        if layout.excludes_own:
            self.ids = list(ids)
            self.seen = dict(zip(self.ids, self.times, strict=True))
        else:
            self.seen = dict(ids)

    def position(self, record_id: str, stop: int) -> int:
        """Return the position of the record with this id among those before `stop`, or -1."""
        time = self.seen.get(record_id)
        if time is None:
            return -1
        index = bisect_right(self.times, time) - 1
        while self.ids[index] != record_id:
            index -= 1
        return index if index < stop else -1

    def drop_expired(self) -> int:
        """Drop records that no window will hold again, or beyond `RECORDS`; return how many are left."""
        times = self.times
        expired = bisect_right(times, self.newest - self._lateness - self._layout.reach)
        if (excess := len(times) - self.RECORDS) > 0:
            expired = max(expired, excess + self.RECORDS // 16)
        if self._layout.excludes_own:
            for record_id in self.ids[:expired]:
                del self.seen[record_id]
            del self.ids[:expired]
        del times[:expired]
        for column in (*self.kept, *self.sums):
            del column[:expired]
        self.base += expired
        self.answered = NEVER
        for extremes in self.extremes:
            extremes.drop(expired)
        for follows in self.followers:
            if follows.start < self.base:
                follows.forget()
        return len(times)

    def _insert(self, index: int, time: int, record_id: str, values: Sequence[Any]) -> None:
        """Insert a record before newer ones."""
        self.answered = NEVER
        self.times.insert(index, time)
        for sums, (column, power) in zip(self.sums, self._layout.sums, strict=True):
            units = exact.fixed(values[column]) ** power
            sums[index:] = [sums[index], *(before + units for before in sums[index:])]
        for kept, (column, _) in zip(self.kept, self._layout.kept, strict=True):
            kept.insert(index, values[column])
        if self._layout.excludes_own:
            self.ids.insert(index, record_id)
        for extremes in self.extremes:
            extremes.insert(index)
        for follows in self.followers:
            if index + self.base < follows.stop:
                follows.forget()


@lru_cache(maxsize=1024)
def windows_of(view: View, lateness: int) -> type[WindowState]:
    """Return the class of a view's windows, shared by all of its entities; `lateness` in ms."""
    layout = Layout(view)
    starts = tuple(f"start{number}" for number in range(len(lengths_of(layout.needs))))
    shared = {"__slots__": starts, "_layout": layout, "_lateness": lateness}
    title = f"windows of {view.name}"
    return type(f"WindowsOf_{view.name}", (WindowState,), shared | methods(layout.needs, lateness, title))
