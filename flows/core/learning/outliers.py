"""Outliers: rows whose values are so extreme that a model should not learn them.

After a scaler has learned one amount of 1e6 among amounts near 1, it scales all others to almost nothing for
tens of thousands of events. So each number of a row is compared with the range of its previous values, from
the second smallest to the second largest, so that a single extreme value cannot widen it. An outlier lies
several widths outside of that range.

Quantiles or the median absolute deviation would be 0 for a number that is mostly 0, and would cut long tails;
with this range, three of 100,000 log-normal values with a sigma of 2 are outliers.

Ranges adapt. A value slightly outside widens the range. Values of the older half of the history are
forgotten. If a number keeps producing outliers, its distribution has moved and its range is reset.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Literal, NamedTuple

Outliers = Literal["clip", "skip", "learn"]

LABEL = "(label)"  # the name of the truth among the features
REACH = 3.0  # the distance from the range, in widths, at which a value is an outlier
_FEW = 100  # changes of a number; with these few the distance is doubled
_LEAST = 10  # changes before a number is judged
_SPARSE, _STEP = 256, 16  # after 256 rows, changes are counted in every 16th row only
_SPAN = 10_000  # rows in the first half of the history
RENEWED = 500  # outliers above the usual share after which a range is reset
_USUAL = 0.01  # the share of outliers that is expected by chance
_NUMBERS = {float, int, bool}
_TEXT = ("", "\U0010ffff")  # bounds that nearly every text is within
_SAME = 1e-9  # the relative width below which a range is a rounding error
_TOGETHER = 32  # rows that are compared with the bounds at once: few enough that mostly all are within


class OutlierValue(NamedTuple):
    """A value far outside the range `low` to `high` of the previous ones; `at` is its index in the row."""

    at: int
    value: float
    low: float
    high: float


class FilteredRow(NamedTuple):
    """What to learn of a row; `features` is None for nothing. `outside` are its outliers by name."""

    features: dict[str, Any] | None
    truth: Any
    outside: Mapping[str, OutlierValue]


class FilteredBlock(NamedTuple):
    """What to learn of some rows. `outside` are the outliers of a row by its index and their names."""

    rows: Sequence[Sequence[Any]]
    truths: Sequence[Any]
    outside: Mapping[int, Mapping[str, OutlierValue]]


class OutlierFilter:
    """Decides what the models of a pipeline learn of each row.

    `names` are those of a row's features; a numeric truth is checked too. "clip" moves outliers to the end
    of their range, "skip" drops rows with outliers, "learn" checks nothing.
    """

    def __init__(self, names: Sequence[str], action: Outliers) -> None:
        self.action = action
        self.rows = 0  # rows with outliers
        self.by_name: dict[str, int] = {}  # outlier values
        self._names = (*names, LABEL)
        self._ranges = Ranges(len(self._names))

    def apply(self, features: Sequence[Any], truth: Any) -> FilteredRow:
        """Return what should be learned of the next row, which has a value for each name."""
        row = [*features, truth]
        outside = self._ranges.learn(row) if self.action != "learn" else None
        named = self._clip(row, outside) if outside else {}
        if named and self.action == "skip":
            return FilteredRow(None, truth, named)
        truth = row.pop()
        # A named tuple's own constructor takes twice as long, and there is one for each event.
        return tuple.__new__(FilteredRow, (dict(zip(self._names, row, strict=False)), truth, named))

    def apply_block(self, rows: Sequence[Sequence[Any]], truths: Sequence[Any]) -> FilteredBlock:
        """Return what `apply` returns for each row, with the features as rows; for "clip" and "learn"."""
        if self.action == "learn":
            return FilteredBlock(rows, truths, {})
        learned, known, outside = list(rows), list(truths), {}
        for start in range(0, len(rows), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            if self._ranges.learn_usual((*zip(*rows[part], strict=True), truths[part])):
                continue
            for at in range(start, min(start + _TOGETHER, len(rows))):
                features, truth, found = self.apply(rows[at], truths[at])
                if features is not None and found:
                    learned[at], known[at], outside[at] = list(features.values()), truth, found
        return FilteredBlock(learned, known, outside)

    def without_outliers(self, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return the rows that have no outliers by the ranges of now, and learn nothing."""
        limits = self._ranges.limits()
        columns = zip(*rows, strict=True)
        suspects = [
            at
            for at, (column, (low, high)) in enumerate(zip(columns, limits, strict=False))
            if not _are_within(column, low, high)
        ]
        return [row for row in rows if not any(_is_outside(row[at], limits[at]) for at in suspects)]

    def _clip(self, row: list[Any], outside: Sequence[OutlierValue]) -> dict[str, OutlierValue]:
        """Move the outliers of a row to the end of their range, count them and return them by name."""
        self.rows += 1
        for each in outside:
            name = self._names[each.at]
            self.by_name[name] = self.by_name.get(name, 0) + 1
            row[each.at] = min(max(each.value, each.low), each.high)
        return {self._names[each.at]: each for each in outside}


class Ranges:
    """The ranges of `width` numbers, learned row by row. Values that are not finite numbers are ignored.

    State: ten numbers for each range.
    """

    def __init__(self, width: int) -> None:
        self._ranges = [_Range() for _ in range(width)]
        self._rows = 0
        self._turn = _SPAN
        # Nearly all values are within these bounds, and so neither outliers nor new extremes. The bounds of a
        # column with a text are texts.
        self._low: list[Any] = [inf] * width
        self._high: list[Any] = [-inf] * width

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the bounds, which follow from the ranges."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_low", "_high")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.__dict__.update(state)
        self._low = [number.lows[1] for number in self._ranges]
        self._high = [number.highs[1] for number in self._ranges]

    def learn(self, row: Sequence[Any]) -> list[OutlierValue]:
        """Return the outliers of a row, and learn its other values."""
        self._rows += 1
        if self._rows <= _SPARSE or self._rows % _STEP == 0:
            self._count_changes(row)
        try:
            bounded = zip(row, self._low, self._high, strict=True)
            is_within = not [v for v, low, high in bounded if v is not None and not low <= v <= high]
        except TypeError:  # a text where there was none before
            is_within = False
        found = [] if is_within else self._learn_beyond(row)
        if self._rows == self._turn:
            self._forget()
        return found

    def learn_usual(self, columns: Sequence[Sequence[Any]]) -> bool:
        """Learn some rows, given as columns, if none of their values is out of bounds.

        Return False, with nothing learned, if one is, or if these rows are special by their number.
        """
        first, count = self._rows, len(columns[0])
        if first < _SPARSE or first + count >= self._turn:
            return False
        if not all(map(_are_within, columns, self._low, self._high)):
            return False
        self._rows += count
        for at in range(-(first + 1) % _STEP, count, _STEP):
            self._count_changes([column[at] for column in columns])
        return True

    def limits(self) -> list[tuple[float, float]]:
        """Return the bounds beyond which a value is an outlier, for each number."""
        return [number.limits() for number in self._ranges]

    def _learn_beyond(self, row: Sequence[Any]) -> list[OutlierValue]:
        """Return the outliers of a row, and learn its other numbers that are out of bounds."""
        found = []
        for at, value in enumerate(row):
            if isinstance(value, str):
                self._low[at], self._high[at] = _TEXT
            elif type(value) in _NUMBERS and self._is_beyond(at, value) and -inf < value < inf:
                outlier = self._learn(at, value)
                if outlier is not None:
                    found.append(outlier)
        return found

    def _is_beyond(self, at: int, value: float) -> bool:
        low, high = self._low[at], self._high[at]
        return isinstance(low, str) or not low <= value <= high

    def _learn(self, at: int, value: float) -> OutlierValue | None:
        number = self._ranges[at]
        low, high = number.limits()
        if not low <= value <= high:
            if not number.add_outlier(self._rows):
                return OutlierValue(at, value, *number.ends())
            number = self._ranges[at] = _Range()
        number.widen(value)
        self._low[at], self._high[at] = number.lows[1], number.highs[1]
        return None

    def _count_changes(self, row: Sequence[Any]) -> None:
        step = 1 if self._rows <= _SPARSE else _STEP
        for number, value in zip(self._ranges, row, strict=True):
            if type(value) in _NUMBERS and value != number.last:
                number.last = value
                number.changes += step

    def _forget(self) -> None:
        """Start the next half of the history, which is as long as everything before it."""
        self._turn *= 2
        for at, number in enumerate(self._ranges):
            number.forget()
            self._low[at], self._high[at] = inf, -inf


def _are_within(column: Sequence[Any], low: Any, high: Any) -> bool:
    """Return whether all known values are within the bounds; perhaps False if one is a NaN."""
    try:
        return bool(low <= min(column) and max(column) <= high)
    except TypeError:  # a null, or a text where there was none before
        known = [value for value in column if value is not None]
    try:
        return not known or bool(low <= min(known) and max(known) <= high)
    except TypeError:
        return False


def _is_outside(value: Any, limits: tuple[float, float]) -> bool:
    return type(value) in _NUMBERS and not limits[0] <= value <= limits[1]


class _Range:
    """The two smallest and the two largest values of one number, and the range in the previous half.

    `changes` estimates how often the number changed, since little is known of one that is nearly always 0.
    """

    def __init__(self) -> None:
        self.lows, self.highs = (inf, inf), (-inf, -inf)  # the extreme value first
        self._older = (inf, -inf)
        self._excess, self._last_outlier = 0.0, 0  # the CUSUM of outliers, and the row of the last one
        self.changes = 0
        self.last: float | None = None

    def ends(self) -> tuple[float, float]:
        """Return the range; low >= high while too few values are known."""
        return min(self.lows[1], self._older[0]), max(self.highs[1], self._older[1])

    def limits(self) -> tuple[float, float]:
        """Return the bounds beyond which a value is an outlier."""
        low, high = self.ends()
        width = high - low
        if self.changes < _LEAST or not width > _SAME * max(abs(low), abs(high)):
            return -inf, inf
        reach = REACH * (1 + _FEW / self.changes) * width
        return low - reach, high + reach

    def widen(self, value: float) -> None:
        """Learn a value."""
        first, second = self.lows
        self.lows = (value, first) if value < first else (first, min(second, value))
        first, second = self.highs
        self.highs = (value, first) if value > first else (first, max(second, value))

    def add_outlier(self, row: int) -> bool:
        """Count an outlier in this row; return whether there are too many (the CUSUM of Page, 1954)."""
        self._excess = max(0.0, self._excess - _USUAL * (row - self._last_outlier)) + 1.0
        self._last_outlier = row
        return self._excess >= RENEWED

    def forget(self) -> None:
        """Start another half of the history."""
        self._older = (self.lows[1], self.highs[1])
        self.lows, self.highs = (inf, inf), (-inf, -inf)
