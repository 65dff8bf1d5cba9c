"""Exact sliding windows over one entity's part of a stream, as of any event time.

A window of length w answers a question asked at t with the records whose time is in (t - w, t]. Records may
arrive out of order and questions may be asked about the past: as long as the records of that time are still
kept, the answer is the one that a full recomputation gives.

The records stand in the order of their times, so a window is two positions. Beside the records
stand cumulative sums: what a window adds up to is the difference of two of them, and nothing moves when a
window does. Extremes, distinct values and quantiles follow the positions (see `followers`).
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import sqrt
from struct import Struct
from typing import Any, ClassVar, Literal

import orjson

from flows.core.features.plan import NUMERIC, Aggregate, View, quantile
from flows.core.features.windows import exact
from flows.core.features.windows.followers import Follower, follower
from flows.core.features.windows.methods import Feature, Needs, Sum, methods

Value = int | float | str | None
Outcome = Literal["added", "duplicate", "late"]

_LONG_AGO = -(2**62)
_NO_IDS: list[str] = []
_HEAD = Struct("<qqI")
_FOLLOWED = ("min", "max", "count_distinct")

# Reads a feature of the records from `start` up to `stop` without the one at `own` (-1: of all of them), as
# of `time` (ms).
_Read = Callable[["WindowState", int, int, int, int], Value]


class _Layout:
    """What a view needs, the same for all of its entities: what is kept of a record, and who reads it."""

    def __init__(self, view: View) -> None:
        self.excludes_own = view.excludes_own
        self.reach = view.delay + view.longest  # how long (ms) a record may be in a window
        self.kept: list[tuple[int, bool]] = []  # the columns whose values are, and whether these are numbers
        self.sums: list[Sum] = []
        self.followers: list[tuple[str, int, int]] = []  # kind, window and which of the kept
        self._view = view
        features = [self._feature(aggregate) for aggregate in view.aggregates]
        columns = [column for column, _ in self.kept]
        self.needs = Needs(features, self.sums, columns, view.delay, self.reach, view.excludes_own)
        # of the other columns the snapshot has what the sums tell
        self.only_summed = [
            n for n, (column, power) in enumerate(self.sums) if power == 1 and column not in columns
        ]

    def _feature(self, aggregate: Aggregate) -> Feature:
        function, window = aggregate.function, aggregate.window
        if function == "count":
            return Feature(window, "count")
        if function in ("sum", "mean"):
            column = self._view.columns.index(aggregate.column)
            return Feature(window, function, _index(self.sums, Sum(column, 1)))
        return Feature(window, self._reader(aggregate))

    def _reader(self, aggregate: Aggregate) -> _Read:
        function = aggregate.function
        if function == "time_since_last":
            return _time_since_last
        column = self._view.columns.index(aggregate.column)
        if function in ("var", "std"):
            first, second = _index(self.sums, Sum(column, 1)), _index(self.sums, Sum(column, 2))
            return (_variance if function == "var" else _deviation)(first, second)
        kept = _index(self.kept, (column, _is_numeric(self._view, aggregate.column)))
        if function in ("first", "last"):
            read = (_first if function == "first" else _last)(kept)
            return read if aggregate.dtype == "string" else _as_number(read)
        kind = function if function in _FOLLOWED else "quantile"
        return _followed(function, _index(self.followers, (kind, aggregate.window, kept)), kept)


class WindowState:
    """The kept records of one view for one entity, and the view's windows over them.

    Each view has a class of its own, `windows_of(view, lateness)`, with the methods `add` and `ask`.
    `lateness` (milliseconds) is how far behind the newest time seen a record or a question may be and still
    get the exact answer; ids are remembered as long, to tell duplicates.
    """

    __slots__ = (
        "_base",
        "_followers",
        "ids",
        "kept",
        "newest",
        "newest_record",
        "seen",
        "sums",
        "times",
    )
    WORTH_DROPPING = 64  # expired records that are dropped together, so that dropping costs nothing each
    RECORDS = 100_000  # that are kept; the oldest leave early
    _layout: ClassVar[_Layout]
    _lateness: ClassVar[int]

    def __init__(self) -> None:
        layout = self._layout
        self.times = array("q")
        # tuples, of which the empty one is shared: a cold entity costs as much as the objects it is made of
        self.kept: tuple[Any, ...] = tuple([array("d") if numeric else [] for _, numeric in layout.kept])
        self.sums = tuple([[0] for _ in layout.sums])  # before each record and after the last, in units
        self._followers: tuple[Follower, ...] = tuple([follower(kind) for kind, _, _ in layout.followers])
        self.ids: list[str] = (
            [] if layout.excludes_own else _NO_IDS
        )  # beside the times, where a question must find its own record
        self.seen: dict[str, int] = {}  # id to time
        self._base = 0  # how many records were dropped before the first one here
        self.newest = _LONG_AGO  # the newest time seen, of a record or a question
        self.newest_record = _LONG_AGO

    def add(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Take in a record; a duplicate id, or a record further behind than the lateness, changes nothing."""
        raise NotImplementedError  # made for each view

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        """The view's features as of `time`, in its order, without the record `own_id` if the view says so.

        An empty window has the counts and the sum 0 and nothing else.
        """
        raise NotImplementedError  # made for each view

    def add_other(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Take in a record that is behind the newest, or a duplicate, or late."""
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
        """The time (ms) from which on the state is that of an entity never seen."""
        return self.newest + self._lateness + self._layout.reach

    def snapshot(self) -> bytes:
        """The records as bytes; what the windows hold follows from them."""
        texts = [kept for kept in self.kept if not isinstance(kept, array)]
        numbers = [kept for kept in self.kept if isinstance(kept, array)] + [
            array("d", (exact.total(after - before) for before, after in pairwise(self.sums[which])))
            for which in self._layout.only_summed
        ]
        head = _HEAD.pack(self.newest, self.newest_record, len(self.times))
        rest = orjson.dumps([texts, self.ids or self.seen])
        return b"".join([head, self.times.tobytes(), *(column.tobytes() for column in numbers), rest])

    def restore(self, state: bytes) -> None:
        """Stand where `snapshot` was taken."""
        layout = self._layout
        self.newest, self.newest_record, count = _HEAD.unpack_from(state)
        only_summed = [array("d") for _ in layout.only_summed]
        arrays = [kept for kept in self.kept if isinstance(kept, array)]
        at = _HEAD.size
        for numbers in (self.times, *arrays, *only_summed):
            numbers.frombytes(state[at : at + 8 * count])
            at += 8 * count
        texts, ids = orjson.loads(state[at:])
        for number, kept in enumerate(kept for kept in self.kept if not isinstance(kept, array)):
            kept.extend(texts[number])
        columns = dict(zip((column for column, _ in layout.kept), self.kept, strict=True))
        columns |= zip((layout.sums[which].column for which in layout.only_summed), only_summed, strict=True)
        for sums, (column, power) in zip(self.sums, layout.sums, strict=True):
            sums.extend(accumulate(exact.fixed(value) ** power for value in columns[column]))
        if layout.excludes_own:
            self.ids = list(ids)
            self.seen = dict(zip(self.ids, self.times, strict=True))
        else:
            self.seen = dict(ids)

    def position(self, record_id: str, stop: int) -> int:
        """Where the record with this id stands among those before `stop`; -1 if it does not."""
        time = self.seen.get(record_id)
        if time is None:
            return -1
        index = bisect_right(self.times, time) - 1
        while self.ids[index] != record_id:
            index -= 1
        return index if index < stop else -1

    def drop_expired(self) -> int:
        """Forget what no window will hold again, and the oldest of too many records; how many are left."""
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
        self._base += expired
        for follows in self._followers:
            if follows.start < self._base:
                follows.forget()
        return len(times)

    def _insert(self, index: int, time: int, record_id: str, values: Sequence[Any]) -> None:
        """Put a record between older ones."""
        self.times.insert(index, time)
        for sums, (column, power) in zip(self.sums, self._layout.sums, strict=True):
            units = exact.fixed(values[column]) ** power
            sums[index:] = [sums[index], *(before + units for before in sums[index:])]
        for kept, (column, _) in zip(self.kept, self._layout.kept, strict=True):
            kept.insert(index, values[column])
        if self._layout.excludes_own:
            self.ids.insert(index, record_id)
        for follows in self._followers:
            if index + self._base < follows.stop:
                follows.forget()


@lru_cache(maxsize=1024)
def windows_of(view: View, lateness: int) -> type[WindowState]:
    """The class of a view's windows, for all of its entities; `lateness` in ms."""
    layout = _Layout(view)
    shared = {"__slots__": (), "_layout": layout, "_lateness": lateness}
    return type(f"WindowsOf_{view.name}", (WindowState,), shared | methods(layout.needs, lateness))


def _time_since_last(state: WindowState, start: int, stop: int, own: int, time: int) -> float | None:
    newest = stop - 1 - (own == stop - 1)
    return (time - state.times[newest]) / 1000 if newest >= start else None


def _variance(first: int, second: int) -> Callable[..., float | None]:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> float | None:
        units, squares = (_units(state.sums[which], start, stop, own) for which in (first, second))
        return exact.variance(stop - start - (own >= 0), units, squares)

    return read


def _deviation(first: int, second: int) -> _Read:
    variance = _variance(first, second)

    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> float | None:
        value = variance(state, start, stop, own, _time)
        return None if value is None else sqrt(value)

    return read


def _units(sums: list[int], start: int, stop: int, own: int) -> int:
    units = sums[stop] - sums[start]
    return units if own < 0 else units - (sums[own + 1] - sums[own])


def _first(kept: int) -> _Read:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> Value:
        first = start + (own == start)
        return state.kept[kept][first] if first < stop else None

    return read


def _last(kept: int) -> _Read:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> Value:
        last = stop - 1 - (own == stop - 1)
        return state.kept[kept][last] if last >= start else None

    return read


def _as_number(reader: _Read) -> _Read:
    """The same, with true and false as the numbers that they are to an aggregate."""

    def read(state: WindowState, start: int, stop: int, own: int, time: int) -> Value:
        value = reader(state, start, stop, own, time)
        return float(value) if type(value) is bool else value

    return read


def _followed(function: str, place: int, kept: int) -> _Read:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> Value:
        if stop - start == (own >= 0):
            return 0 if function == "count_distinct" else None
        follows, values, base = state._followers[place], state.kept[kept], state._base
        follows.follow(values, base, start + base, stop + base)
        value: Value = follows.read(function, values, base, None if own < 0 else own + base)
        return value

    return read


def _is_numeric(view: View, column: str) -> bool:
    """Whether a function reads the column as numbers; the others take whatever it holds."""
    functions = [a.function for a in view.aggregates if a.column == column]
    return any(f in NUMERIC or quantile(f) is not None for f in functions)


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)
