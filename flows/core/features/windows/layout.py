"""What the windows of a view keep of each record, and how its features are read from that."""

from array import array
from collections.abc import Callable
from math import sqrt
from typing import Any, Protocol

from flows.core.features.plan import NUMERIC, Aggregate, View, quantile
from flows.core.features.windows import exact
from flows.core.features.windows.followers import Follower
from flows.core.features.windows.methods import Extreme, Feature, Needs, Sum


class Records(Protocol):
    """The kept records of a `WindowState`, in the order of their times."""

    times: "array[int]"
    kept: tuple[Any, ...]
    sums: tuple[list[int], ...]
    base: int
    followers: tuple[Follower, ...]


# Reads a feature of the records from `start` up to `stop`, without `own` (-1: none), as of `time` (ms).
Read = Callable[[Records, int, int, int, int], Any]


class Layout:
    """What a view keeps of each record, and how its features are read; shared by all of its entities."""

    def __init__(self, view: View) -> None:
        self.excludes_own = view.excludes_own
        self.reach = view.delay + view.longest  # how long (ms) a record may be in a window
        self.kept: list[tuple[int, bool]] = []  # columns whose values are kept, and whether they are numbers
        self.sums: list[Sum] = []
        self.extremes: list[Extreme] = []
        self.followers: list[tuple[str, int, int]] = []  # kind, window, and index in `kept`
        self._view = view
        features = [self._feature(aggregate) for aggregate in view.aggregates]
        columns = [column for column, _ in self.kept]
        # for the snapshot: to subtract the sums of neighbours would take most of its time
        summed = [column for column, power in self.sums if power == 1 and column not in columns]
        self.kept += [(column, True) for column in summed]
        columns += summed
        self.needs = Needs(
            features, self.sums, columns, self.extremes, view.delay, self.reach, view.excludes_own
        )

    def _feature(self, aggregate: Aggregate) -> Feature:
        function, window = aggregate.function, aggregate.window
        if function == "count":
            return Feature(window, "count")
        if function in ("sum", "mean"):
            column = self._view.columns.index(aggregate.column)
            return Feature(window, function, _index(self.sums, Sum(column, 1)))
        if function in ("max", "min"):
            kept = _index(self.kept, (self._view.columns.index(aggregate.column), True))
            return Feature(window, "extreme", _index(self.extremes, Extreme(function, kept)))
        return Feature(window, self._reader(aggregate))

    def _reader(self, aggregate: Aggregate) -> Read:
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
        kind = "quantile" if quantile(function) else function
        return _followed(function, _index(self.followers, (kind, aggregate.window, kept)), kept)


def _time_since_last(state: Records, start: int, stop: int, own: int, time: int) -> float | None:
    newest = stop - 1 - (own == stop - 1)
    return (time - state.times[newest]) / 1000 if newest >= start else None


def _variance(first: int, second: int) -> Callable[..., float | None]:
    def read(state: Records, start: int, stop: int, own: int, _time: int) -> float | None:
        units, squares = (_units(state.sums[which], start, stop, own) for which in (first, second))
        return exact.variance(stop - start - (own >= 0), units, squares)

    return read


def _deviation(first: int, second: int) -> Read:
    variance = _variance(first, second)

    def read(state: Records, start: int, stop: int, own: int, _time: int) -> float | None:
        value = variance(state, start, stop, own, _time)
        return None if value is None else sqrt(value)

    return read


def _units(sums: list[int], start: int, stop: int, own: int) -> int:
    units = sums[stop] - sums[start]
    return units if own < 0 else units - (sums[own + 1] - sums[own])


def _first(kept: int) -> Read:
    def read(state: Records, start: int, stop: int, own: int, _time: int) -> Any:
        first = start + (own == start)
        return state.kept[kept][first] if first < stop else None

    return read


def _last(kept: int) -> Read:
    def read(state: Records, start: int, stop: int, own: int, _time: int) -> Any:
        last = stop - 1 - (own == stop - 1)
        return state.kept[kept][last] if last >= start else None

    return read


def _as_number(reader: Read) -> Read:
    """Wrap `reader` so that true and false are read as numbers."""

    def read(state: Records, start: int, stop: int, own: int, time: int) -> Any:
        value = reader(state, start, stop, own, time)
        return float(value) if type(value) is bool else value

    return read


def _followed(function: str, place: int, kept: int) -> Read:
    def read(state: Records, start: int, stop: int, own: int, _time: int) -> Any:
        if stop - start == (own >= 0):
            return 0 if function == "count_distinct" else None
        follows, values, base = state.followers[place], state.kept[kept], state.base
        follows.follow(values, base, start + base, stop + base)
        return follows.read(function, values, base, None if own < 0 else own + base)

    return read


def _is_numeric(view: View, column: str) -> bool:
    """Return whether a function reads the column as numbers; the others accept any value."""
    functions = [a.function for a in view.aggregates if a.column == column]
    return any(f in NUMERIC or quantile(f) is not None for f in functions)


def _index(items: list[Any], item: Any) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)
