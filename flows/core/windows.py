"""Exact sliding windows over one entity's part of a stream, as of any event time.

A window of length w answers a question asked at t with the records whose time is in (t - w, t]. Records may
arrive out of order and questions may be asked about the past: as long as the records of that time are still
kept, the answer is the one that a full recomputation gives.

The windows of a view end at the same moment and differ in where they begin, so each record enters once, for
all of them, and leaves each by itself. What a window holds is described by two positions; every function
follows them, forwards or backwards (`flows.core.followers`), or needs nothing but them.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from struct import Struct
from typing import Any, Literal

import orjson

from flows.core import exact
from flows.core.followers import Follower, follower
from flows.core.plan import NUMERIC, View, quantile

Value = int | float | str | None
Outcome = Literal["added", "duplicate", "late"]

RECORDS = 100_000  # of one view that are kept for one entity; the oldest leave early
_LONG_AGO = -(2**62)
_WORTH_DROPPING = 64  # expired records that are dropped together, so that dropping costs nothing each
_HEAD = Struct("<qqqI")
_MOMENTS = ("sum", "mean", "std", "var")


class _Layout:
    """What a view needs, the same for all of its entities.

    `moments` are the columns whose sums are kept, and `squared` those among them whose squares are too. A
    `slot` is one such column in one window. An output is (function, window, column, slot or follower).
    """

    def __init__(self, view: View) -> None:
        self.lengths = list(dict.fromkeys(a.window for a in view.aggregates))
        self.numeric = [c for c in view.columns if _is_numeric(view, c)]
        index = {column: number for number, column in enumerate(view.columns)}
        of = {c: [a for a in view.aggregates if a.column == c and a.function in _MOMENTS] for c in index}
        self.moments = [(index[c], _squared(of[c])) for c in index if of[c]]
        self.slots: list[tuple[int, int]] = []  # (window, which of the moments)
        self.followers: list[tuple[str, int, int]] = []  # (function, window, column)
        self.outputs: list[tuple[str, int, int, int]] = []
        rank = {column: number for number, (column, _) in enumerate(self.moments)}
        for a in view.aggregates:
            window, column = self.lengths.index(a.window), index.get(a.column, -1)
            self.outputs.append((a.function, window, column, self._place(a.function, window, column, rank)))
        self.slots_of = [
            [(slot, which, *self.moments[which]) for slot, (w, which) in enumerate(self.slots) if w == window]
            for window in range(len(self.lengths))
        ]
        self.is_numeric = [column in self.numeric for column in view.columns]

    def _place(self, function: str, window: int, column: int, rank: dict[int, int]) -> int:
        if function in _MOMENTS:
            return _index(self.slots, (window, rank[column]))
        if function in ("min", "max", "count_distinct") or quantile(function) is not None:
            kind = function if function in ("min", "max", "count_distinct") else "quantile"
            return _index(self.followers, (kind, window, column))
        return -1


class WindowState:
    """The kept records of one view for one entity, and the view's windows over them.

    `lateness` (milliseconds) is how far behind the newest time seen a record or a question may be and still
    get the exact answer; ids are remembered as long, to tell duplicates.
    """

    __slots__ = (
        "_base",
        "_columns",
        "_entered",
        "_followers",
        "_ids",
        "_layout",
        "_left",
        "_newest",
        "_seen",
        "_starts",
        "_stop",
        "_times",
        "_view",
        "lateness",
        "newest_record",
    )

    def __init__(self, view: View, lateness: int) -> None:
        self._view = view
        self.lateness = lateness
        self._layout = layout = _layout(view)
        self._times = array("q")
        self._columns: list[Any] = [array("d") if numeric else [] for numeric in layout.is_numeric]
        self._ids: list[str] = []  # beside the times, where a question must find its own record
        self._seen: dict[str, int] = {}  # id to time
        self._base = 0  # how many records were dropped before the first one here
        self._newest = _LONG_AGO  # the newest time seen, of a record or a question
        self.newest_record = _LONG_AGO
        self._stand_at_the_beginning()

    def add(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Take in a record; a duplicate id, or a record further behind than the lateness, changes nothing."""
        if record_id in self._seen:
            return "duplicate"
        if time < self.newest_record - self.lateness or time <= self._horizon():
            return "late"
        times = self._times
        if times and time < times[-1]:
            self._insert(bisect_right(times, time), time, record_id, values)
        else:
            times.append(time)
            for column, value in zip(self._columns, values, strict=True):
                column.append(value)
            if self._view.excludes_own:
                self._ids.append(record_id)
        self._seen[record_id] = time
        if time > self.newest_record:
            self.newest_record = time
            if time > self._newest:
                self._newest = time
        if not self._view.excludes_own:
            self._forget_ids()
        return "added"

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        """The view's features as of `time`, in its order, without the record `own_id` if the view says so.

        An empty window has the counts and the sum 0 and nothing else.
        """
        if time > self._newest:
            self._newest = time
        own = self._position(own_id) if self._view.excludes_own and own_id is not None else None
        self._move(time - self._view.delay)
        answer = [self._read(*output, time, own) for output in self._layout.outputs]
        self._drop_expired()
        return answer

    @property
    def expires(self) -> int:
        """The time (ms) from which on the state is that of an entity never seen."""
        return self._newest + self.lateness + self._view.delay + self._view.longest

    def snapshot(self) -> bytes:
        """The records as bytes; what the windows hold follows from them."""
        texts = [c for c, numeric in zip(self._columns, self._layout.is_numeric, strict=True) if not numeric]
        rest = orjson.dumps([texts, self._ids or self._seen])
        numbers = [c.tobytes() for c in self._columns if isinstance(c, array)]
        head = _HEAD.pack(self._newest, self.newest_record, self._base, len(self._times))
        return b"".join([head, self._times.tobytes(), *numbers, rest])

    def restore(self, state: bytes) -> None:
        """Stand where `snapshot` was taken."""
        self._newest, self.newest_record, self._base, count = _HEAD.unpack_from(state)
        at = _HEAD.size
        arrays = [c for c in self._columns if isinstance(c, array)]
        for numbers in (self._times, *arrays):
            numbers.frombytes(state[at : at + 8 * count])
            at += 8 * count
        texts, ids = orjson.loads(state[at:])
        for number, column in enumerate(c for c in self._columns if not isinstance(c, array)):
            column += texts[number]
        if self._view.excludes_own:
            self._ids = list(ids)
            self._seen = dict(zip(self._ids, self._times, strict=True))
        else:
            self._seen = dict(ids)
        self._stand_at_the_beginning()

    def _stand_at_the_beginning(self) -> None:
        layout = self._layout
        self._stop = 0  # how many records have entered the windows
        self._starts = [0] * len(layout.lengths)  # and how many have left each of them
        self._entered = [0] * (2 * len(layout.moments))  # sum and sum of squares of each column, in units
        self._left = [0] * (2 * len(layout.slots))
        self._followers: list[Follower] = [follower(kind) for kind, _, _ in layout.followers]

    def _move(self, end: int) -> None:
        """Let the windows end at `end`: records enter and leave, or come back."""
        times, stop = self._times, self._stop
        count = len(times)
        while stop < count and times[stop] <= end:
            self._enter(stop, 1)
            stop += 1
        while stop and times[stop - 1] > end:
            stop -= 1
            self._enter(stop, -1)
        self._stop = stop
        starts = self._starts
        for window, length in enumerate(self._layout.lengths):
            start, oldest = starts[window], end - length
            while start < stop and times[start] <= oldest:
                self._leave(window, start, 1)
                start += 1
            while start and times[start - 1] > oldest:
                start -= 1
                self._leave(window, start, -1)
            starts[window] = start

    def _enter(self, position: int, sign: int) -> None:
        entered = self._entered
        for which, (column, squared) in enumerate(self._layout.moments):
            units = exact.fixed(self._columns[column][position])
            entered[2 * which] += sign * units
            if squared:
                entered[2 * which + 1] += sign * units * units

    def _leave(self, window: int, position: int, sign: int) -> None:
        left = self._left
        for slot, _, column, squared in self._layout.slots_of[window]:
            units = exact.fixed(self._columns[column][position])
            left[2 * slot] += sign * units
            if squared:
                left[2 * slot + 1] += sign * units * units

    def _read(self, function: str, window: int, column: int, place: int, time: int, own: int | None) -> Value:
        start, stop = self._starts[window], self._stop
        excluded = own if own is not None and start <= own < stop else None
        count = stop - start - (excluded is not None)
        if function == "count":
            return count
        if function in _MOMENTS:
            return self._moment(function, count, column, place, excluded)
        if not count:
            return 0 if function == "count_distinct" else None
        if place >= 0:
            values, base = self._columns[column], self._base
            follows = self._followers[place]
            follows.follow(values, base, start + base, stop + base)
            followed: Value = follows.read(
                function, values, base, None if excluded is None else excluded + base
            )
            return followed
        if function == "first":
            first: Value = self._columns[column][start + (excluded == start)]
            return first
        newest = stop - 1 - (excluded == stop - 1)
        if function == "last":
            last: Value = self._columns[column][newest]
            return last
        return (time - self._times[newest]) / 1000

    def _moment(self, function: str, count: int, column: int, slot: int, excluded: int | None) -> Value:
        which = self._layout.slots[slot][1]
        units = self._entered[2 * which] - self._left[2 * slot]
        squares = self._entered[2 * which + 1] - self._left[2 * slot + 1]
        if excluded is not None:
            own = exact.fixed(self._columns[column][excluded])
            units -= own
            squares -= own * own
        if function == "sum":
            return exact.total(units)
        if function == "mean":
            return exact.total(units) / count if count else None
        variance = exact.variance(count, units, squares)
        return variance if function == "var" or variance is None else sqrt(variance)

    def _insert(self, index: int, time: int, record_id: str, values: Sequence[Any]) -> None:
        """Put a record between older ones, also into the windows that stand behind it already."""
        self._times.insert(index, time)
        for column, value in zip(self._columns, values, strict=True):
            column.insert(index, value)
        if self._view.excludes_own:
            self._ids.insert(index, record_id)
        if index < self._stop:
            self._stop += 1
            self._enter(index, 1)
            for window, start in enumerate(self._starts):
                if index < start:
                    self._starts[window] += 1
                    self._leave(window, index, 1)
        for follows in self._followers:  # one that was not asked of late may stand beyond the windows
            if index + self._base < follows.stop:
                follows.forget()

    def _forget_ids(self) -> None:
        """Forget the ids of records that are so old that their duplicates would be late."""
        seen, oldest = self._seen, self.newest_record - self.lateness
        while (first := next(iter(seen))) and seen[first] < oldest:
            del seen[first]

    def _position(self, record_id: str) -> int | None:
        """Where the record with this id stands among the kept ones."""
        time = self._seen.get(record_id)
        if time is None:
            return None
        index = bisect_right(self._times, time) - 1
        while self._ids[index] != record_id:
            index -= 1
        return index

    def _horizon(self) -> int:
        """The time (ms) up to which records are in no window that may still be asked for."""
        return self._newest - self.lateness - self._view.delay - self._view.longest

    def _drop_expired(self) -> None:
        times = self._times
        horizon = self._horizon()
        if len(times) < _WORTH_DROPPING or (times[_WORTH_DROPPING - 1] > horizon and len(times) <= RECORDS):
            return
        expired = min(bisect_right(times, horizon), min(self._starts))
        excess = len(times) - RECORDS
        if excess > 0:
            expired = max(expired, excess + RECORDS // 16)
            self._let_leave(expired)
        for record_id in self._ids[:expired]:
            del self._seen[record_id]
        del times[:expired], self._ids[:expired]
        for column in self._columns:
            del column[:expired]
        self._base += expired
        self._stop -= expired
        self._starts = [start - expired for start in self._starts]

    def _let_leave(self, position: int) -> None:
        """Let all records before `position` enter and leave every window, whatever their time."""
        while self._stop < position:
            self._enter(self._stop, 1)
            self._stop += 1
        for window, start in enumerate(self._starts):
            for leaving in range(start, position):
                self._leave(window, leaving, 1)
            self._starts[window] = max(start, position)
        for follows in self._followers:
            follows.forget()


@lru_cache(maxsize=1024)
def _layout(view: View) -> _Layout:
    return _Layout(view)


def _is_numeric(view: View, column: str) -> bool:
    """Whether a function reads the column as numbers; the others take whatever it holds."""
    functions = [a.function for a in view.aggregates if a.column == column]
    return any(f in NUMERIC or quantile(f) is not None for f in functions)


def _squared(aggregates: Sequence[Any]) -> bool:
    return any(a.function in ("std", "var") for a in aggregates)


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)
