"""Outliers: rows so far from all others that a model had better not learn them.

A scaler that learned one amount of 1e6 among amounts near 1 shows its model almost nothing for tens of
thousands of events. So each number of a row is compared with the range of those before it: from the second
smallest to the second largest value, for one freak must not widen it. An outlier is further outside than
several widths of that range.

Extremes are used, and not quantiles or a median deviation: those are 0 for a number that is mostly 0, and
they cut long tails. Of 100,000 log-normal values with a sigma of 2, three are outliers here.

Ranges follow the world. A value that is a little outside widens its range. What was learned in the older half
of the history is forgotten. A number that is an outlier again and again has moved, so its range begins again.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Literal, NamedTuple

Outliers = Literal["clip", "skip", "learn"]

LABEL = "(label)"  # where a feature's name stands otherwise
REACH = 3.0  # widths of the range that a value may be outside
_FEW = 100  # changes of a number, with which twice as many widths are allowed
_LEAST = 10  # changes before a number is judged
_SPARSE, _STEP = 256, 16  # rows; from the first on changes are only counted in every 16th
_SPAN = 10_000  # rows before the older half of them is forgotten
RENEWED = 500  # outliers, less those below, with which a range begins again
_USUAL = 0.01  # the share of outliers that is taken for chance
_NUMBERS = {float, int, bool}
_SAME = 1e-9  # of a number: a narrower range is rounding


class OutlierValue(NamedTuple):
    """A value far outside the range `low` to `high` of those before it; `at` is its place in the row."""

    at: int
    value: float
    low: float
    high: float


class FilteredRow(NamedTuple):
    """What a model is to learn of a row, or None; `outside` are its outliers by name."""

    features: dict[str, Any] | None
    truth: Any
    outside: Mapping[str, OutlierValue]


class OutlierFilter:
    """Decides what of each row is learned; the models of a pipeline share one.

    `names` are those of a row's features. The truth is looked at too, where it is a number. With "clip" the
    outliers of a row are moved to the end of their range, with "skip" such a row is not learned, with "learn"
    nothing is looked at.
    """

    def __init__(self, names: Sequence[str], action: Outliers) -> None:
        self.action = action
        self.rows = 0  # with outliers
        self.by_name: dict[str, int] = {}  # values
        self._names = (*names, LABEL)
        self._ranges = Ranges(len(self._names))

    def lesson(self, features: Sequence[Any], truth: Any) -> FilteredRow:
        """What is to be learned of the next row, which has a value for each name."""
        row = [*features, truth]
        outside = self._ranges.learn(row) if self.action != "learn" else []
        if outside:
            self.rows += 1
            for each in outside:
                name = self._names[each.at]
                self.by_name[name] = self.by_name.get(name, 0) + 1
                row[each.at] = min(max(each.value, each.low), each.high)
        named = {self._names[each.at]: each for each in outside}
        if outside and self.action == "skip":
            return FilteredRow(None, truth, named)
        truth = row.pop()
        return FilteredRow(dict(zip(self._names, row, strict=False)), truth, named)


class Ranges:
    """The range of each of `width` numbers, learned row by row. What is no finite number is left out.

    State: ten numbers for each of them.
    """

    def __init__(self, width: int) -> None:
        self._ranges = [_Range() for _ in range(width)]
        self._rows = 0
        self._turn = _SPAN
        # a value within these is neither an outlier nor a new extreme, as nearly all are
        self._low, self._high = [inf] * width, [-inf] * width

    def learn(self, row: Sequence[Any]) -> list[OutlierValue]:
        """The values that are far outside; all others are learned."""
        self._rows += 1
        if self._rows <= _SPARSE or self._rows % _STEP == 0:
            self._count_changes(row)
        looked_at = enumerate(zip(row, self._low, self._high, strict=True))
        beyond = [at for at, (v, low, high) in looked_at if type(v) in _NUMBERS and not low <= v <= high]
        found = [each for at in beyond if -inf < row[at] < inf and (each := self._learn(at, row[at]))]
        if self._rows == self._turn:
            self._forget()
        return found

    def _learn(self, at: int, value: float) -> OutlierValue | None:
        kept = self._ranges[at]
        low, high = kept.limits()
        if not low <= value <= high:
            if not kept.press(self._rows):
                return OutlierValue(at, value, *kept.ends())
            kept = self._ranges[at] = _Range()
        kept.widen(value)
        self._low[at], self._high[at] = kept.lows[1], kept.highs[1]
        return None

    def _count_changes(self, row: Sequence[Any]) -> None:
        step = 1 if self._rows <= _SPARSE else _STEP
        for kept, value in zip(self._ranges, row, strict=True):
            if type(value) in _NUMBERS and value != kept.last:
                kept.last = value
                kept.changes += step

    def _forget(self) -> None:
        """The first half of the history is over; the next one is as long as all until now."""
        self._turn *= 2
        for at, kept in enumerate(self._ranges):
            kept.forget()
            self._low[at], self._high[at] = inf, -inf


class _Range:
    """The two smallest and the two largest values of one number, and the range in the half before.

    `changes` estimates how often it changed: of a number that is nearly always 0 only little is known.
    """

    def __init__(self) -> None:
        self.lows, self.highs = (inf, inf), (-inf, -inf)  # the outermost first
        self._older = (inf, -inf)
        self._pressure, self._pressed = 0.0, 0
        self.changes = 0
        self.last: float | None = None

    def ends(self) -> tuple[float, float]:
        """The range; without width, or the other way round, while too little is known."""
        return min(self.lows[1], self._older[0]), max(self.highs[1], self._older[1])

    def limits(self) -> tuple[float, float]:
        """Between which a value is no outlier."""
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

    def press(self, row: int) -> bool:
        """Note an outlier in this row; whether they have become too many (the CUSUM of Page, 1954)."""
        self._pressure = max(0.0, self._pressure - _USUAL * (row - self._pressed)) + 1.0
        self._pressed = row
        return self._pressure >= RENEWED

    def forget(self) -> None:
        """Begin another half."""
        self._older = (self.lows[1], self.highs[1])
        self.lows, self.highs = (inf, inf), (-inf, -inf)
