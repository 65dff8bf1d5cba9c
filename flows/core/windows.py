"""Exact sliding windows over one entity's part of a stream, as of any event time.

A window of length w answers a question asked at t with the records whose time is in (t - w, t]. Records may
arrive out of order and questions may be asked about the past: as long as the records of that time are still
kept, the answer is the one that a full recomputation gives.

The records stand in the order of their times, so a window is two positions. Beside the records
stand cumulative sums: what a window adds up to is the difference of two of them, and nothing moves when a
window does. Extremes, distinct values and quantiles follow the positions (`flows.core.followers`).
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import sqrt
from struct import Struct
from typing import Any, Literal

import orjson

from flows.core import exact
from flows.core.exact import fixed
from flows.core.followers import Follower, follower
from flows.core.plan import NUMERIC, Aggregate, View, quantile
from flows.core.window_reader import Feature, read_all

Value = int | float | str | None
Outcome = Literal["added", "duplicate", "late"]

RECORDS = 100_000  # of one view that are kept for one entity; the oldest leave early
_LONG_AGO = -(2**62)
_NO_IDS: list[str] = []
_WORTH_DROPPING = 64  # expired records that are dropped together, so that dropping costs nothing each
_HEAD = Struct("<qqI")
_MOMENTS = ("sum", "mean", "std", "var")
_FOLLOWED = ("min", "max", "count_distinct")

# Reads a feature of the records from `start` up to `stop` without the one at `own` (-1: of all of them), as
# of `time` (ms).
_Read = Callable[["WindowState", int, int, int, int], Value]


class _Layout:
    """What a view needs, the same for all of its entities: what is kept of a record, and who reads it."""

    def __init__(self, view: View) -> None:
        self.delay = view.delay
        self.excludes_own = view.excludes_own
        self.reach = view.delay + view.longest  # how long (ms) a record may be in a window
        self.kept: list[tuple[int, bool]] = []  # the columns whose values are, and whether these are numbers
        self.summed: list[tuple[int, int]] = []  # the columns, and powers, whose cumulative sums are
        self.followers: list[tuple[str, int, int]] = []  # kind, window and which of the kept
        self._view = view
        self.read = read_all([self._feature(aggregate) for aggregate in view.aggregates], view.excludes_own)
        self.numbered_sums, self.numbered_kept = list(enumerate(self.summed)), list(enumerate(self.kept))
        kept = {column for column, _ in self.kept}  # of the others the snapshot has what the sums tell
        self.only_summed = [n for n, (c, power) in enumerate(self.summed) if power == 1 and c not in kept]

    def _feature(self, aggregate: Aggregate) -> Feature:
        function, window = aggregate.function, aggregate.window
        if function == "count":
            return Feature(window, "count")
        if function in ("sum", "mean"):
            column = self._view.columns.index(aggregate.column)
            return Feature(window, function, _index(self.summed, (column, 1)))
        return Feature(window, self._reader(aggregate))

    def _reader(self, aggregate: Aggregate) -> _Read:
        function = aggregate.function
        if function == "time_since_last":
            return _time_since_last
        column = self._view.columns.index(aggregate.column)
        if function in ("var", "std"):
            first, second = _index(self.summed, (column, 1)), _index(self.summed, (column, 2))
            return (_variance if function == "var" else _deviation)(first, second)
        kept = _index(self.kept, (column, _is_numeric(self._view, aggregate.column)))
        if function in ("first", "last"):
            return (_first if function == "first" else _last)(kept)
        kind = function if function in _FOLLOWED else "quantile"
        return _followed(function, _index(self.followers, (kind, aggregate.window, kept)), kept)


class WindowState:
    """The kept records of one view for one entity, and the view's windows over them.

    `lateness` (milliseconds) is how far behind the newest time seen a record or a question may be and still
    get the exact answer; ids are remembered as long, to tell duplicates.
    """

    __slots__ = (
        "_base",
        "_followers",
        "_ids",
        "_kept",
        "_layout",
        "_newest",
        "_seen",
        "_sums",
        "_times",
        "lateness",
        "newest_record",
    )

    def __init__(self, view: View, lateness: int) -> None:
        self.lateness = lateness
        self._layout = layout = _layout(view)
        self._times = array("q")
        # tuples, of which the empty one is shared: a cold entity costs as much as the objects it is made of
        self._kept: tuple[Any, ...] = tuple([array("d") if numeric else [] for _, numeric in layout.kept])
        self._sums = tuple([[0] for _ in layout.summed])  # before each record and after the last, in units
        self._followers: tuple[Follower, ...] = tuple([follower(kind) for kind, _, _ in layout.followers])
        self._ids: list[str] = (
            [] if layout.excludes_own else _NO_IDS
        )  # beside the times, where a question must find its own record
        self._seen: dict[str, int] = {}  # id to time
        self._base = 0  # how many records were dropped before the first one here
        self._newest = _LONG_AGO  # the newest time seen, of a record or a question
        self.newest_record = _LONG_AGO

    def add(self, time: int, record_id: str, values: Sequence[Any]) -> Outcome:
        """Take in a record; a duplicate id, or a record further behind than the lateness, changes nothing."""
        seen, times, layout = self._seen, self._times, self._layout
        if record_id in seen:
            return "duplicate"
        oldest = self.newest_record - self.lateness
        if time < oldest or time <= self._newest - self.lateness - layout.reach:
            return "late"
        if times and time < times[-1]:
            self._insert(bisect_right(times, time), time, record_id, values)
        else:
            times.append(time)
            for which, (column, power) in layout.numbered_sums:
                units, sums = fixed(values[column]), self._sums[which]
                sums.append(sums[-1] + (units if power == 1 else units * units))
            for which, (column, _) in layout.numbered_kept:
                self._kept[which].append(values[column])
            if layout.excludes_own:
                self._ids.append(record_id)
        seen[record_id] = time
        if time > self.newest_record:
            self.newest_record = time
            if time > self._newest:
                self._newest = time
        if not layout.excludes_own:
            oldest = self.newest_record - self.lateness  # from there on duplicates would be late
            while seen[first := next(iter(seen))] < oldest:
                del seen[first]
        return "added"

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        """The view's features as of `time`, in its order, without the record `own_id` if the view says so.

        An empty window has the counts and the sum 0 and nothing else.
        """
        if time > self._newest:
            self._newest = time
        times, layout = self._times, self._layout
        end = time - layout.delay
        stop = bisect_right(times, end) if times and times[-1] > end else len(times)
        own = self._position(own_id, stop) if layout.excludes_own and own_id is not None else -1
        answer: list[Value] = layout.read(self, end, stop, own, time)
        if len(times) >= _WORTH_DROPPING:
            self._drop_expired()
        return answer

    @property
    def expires(self) -> int:
        """The time (ms) from which on the state is that of an entity never seen."""
        return self._newest + self.lateness + self._layout.reach

    def snapshot(self) -> bytes:
        """The records as bytes; what the windows hold follows from them."""
        texts = [kept for kept in self._kept if not isinstance(kept, array)]
        numbers = [kept for kept in self._kept if isinstance(kept, array)] + [
            array("d", (exact.total(after - before) for before, after in pairwise(self._sums[which])))
            for which in self._layout.only_summed
        ]
        head = _HEAD.pack(self._newest, self.newest_record, len(self._times))
        rest = orjson.dumps([texts, self._ids or self._seen])
        return b"".join([head, self._times.tobytes(), *(column.tobytes() for column in numbers), rest])

    def restore(self, state: bytes) -> None:
        """Stand where `snapshot` was taken."""
        layout = self._layout
        self._newest, self.newest_record, count = _HEAD.unpack_from(state)
        only_summed = [array("d") for _ in layout.only_summed]
        arrays = [kept for kept in self._kept if isinstance(kept, array)]
        at = _HEAD.size
        for numbers in (self._times, *arrays, *only_summed):
            numbers.frombytes(state[at : at + 8 * count])
            at += 8 * count
        texts, ids = orjson.loads(state[at:])
        for number, kept in enumerate(kept for kept in self._kept if not isinstance(kept, array)):
            kept.extend(texts[number])
        columns = dict(zip((column for column, _ in layout.kept), self._kept, strict=True))
        columns |= zip((layout.summed[which][0] for which in layout.only_summed), only_summed, strict=True)
        for sums, (column, power) in zip(self._sums, layout.summed, strict=True):
            sums.extend(accumulate(exact.fixed(value) ** power for value in columns[column]))
        if layout.excludes_own:
            self._ids = list(ids)
            self._seen = dict(zip(self._ids, self._times, strict=True))
        else:
            self._seen = dict(ids)

    def _insert(self, index: int, time: int, record_id: str, values: Sequence[Any]) -> None:
        """Put a record between older ones."""
        self._times.insert(index, time)
        for sums, (column, power) in zip(self._sums, self._layout.summed, strict=True):
            units = exact.fixed(values[column]) ** power
            sums[index:] = [sums[index], *(before + units for before in sums[index:])]
        for kept, (column, _) in zip(self._kept, self._layout.kept, strict=True):
            kept.insert(index, values[column])
        if self._layout.excludes_own:
            self._ids.insert(index, record_id)
        for follows in self._followers:
            if index + self._base < follows.stop:
                follows.forget()

    def _position(self, record_id: str, stop: int) -> int:
        """Where the record with this id stands among those before `stop`; -1 if it does not."""
        time = self._seen.get(record_id)
        if time is None:
            return -1
        index = bisect_right(self._times, time) - 1
        while self._ids[index] != record_id:
            index -= 1
        return index if index < stop else -1

    def _drop_expired(self) -> None:
        times = self._times
        horizon = self._newest - self.lateness - self._layout.reach
        excess = len(times) - RECORDS
        if times[_WORTH_DROPPING - 1] > horizon and excess <= 0:
            return
        expired = bisect_right(times, horizon)
        if excess > 0:
            expired = max(expired, excess + RECORDS // 16)
        if self._layout.excludes_own:
            for record_id in self._ids[:expired]:
                del self._seen[record_id]
            del self._ids[:expired]
        del times[:expired]
        for column in (*self._kept, *self._sums):
            del column[:expired]
        self._base += expired
        for follows in self._followers:
            if follows.start < self._base:
                follows.forget()


def _time_since_last(state: WindowState, start: int, stop: int, own: int, time: int) -> float | None:
    newest = stop - 1 - (own == stop - 1)
    return (time - state._times[newest]) / 1000 if newest >= start else None


def _variance(first: int, second: int) -> Callable[..., float | None]:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> float | None:
        units, squares = (_units(state._sums[which], start, stop, own) for which in (first, second))
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
        return state._kept[kept][first] if first < stop else None

    return read


def _last(kept: int) -> _Read:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> Value:
        last = stop - 1 - (own == stop - 1)
        return state._kept[kept][last] if last >= start else None

    return read


def _followed(function: str, place: int, kept: int) -> _Read:
    def read(state: WindowState, start: int, stop: int, own: int, _time: int) -> Value:
        if stop - start == (own >= 0):
            return 0 if function == "count_distinct" else None
        follows, values, base = state._followers[place], state._kept[kept], state._base
        follows.follow(values, base, start + base, stop + base)
        value: Value = follows.read(function, values, base, None if own < 0 else own + base)
        return value

    return read


@lru_cache(maxsize=1024)
def _layout(view: View) -> _Layout:
    return _Layout(view)


def _is_numeric(view: View, column: str) -> bool:
    """Whether a function reads the column as numbers; the others take whatever it holds."""
    functions = [a.function for a in view.aggregates if a.column == column]
    return any(f in NUMERIC or quantile(f) is not None for f in functions)


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)
