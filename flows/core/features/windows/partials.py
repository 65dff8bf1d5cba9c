"""Partial aggregates of the records of a tile, which can be merged into those of a window.

Each kind can add records, merge with its own kind, and be dumped to JSON values and loaded. Where an exact
result needs unbounded memory, it is approximate. Distinct values are counted exactly up to `DISTINCT` and by
HyperLogLog beyond; quantiles come from a KLL sketch. Both sketches are from Apache DataSketches
(https://datasketches.apache.org).
"""

from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from math import sqrt
from typing import Any

from datasketches import hll_sketch, hll_union, kll_doubles_sketch

from flows.core.features.plan import quantile
from flows.core.features.windows import exact

DISTINCT = 256  # distinct values in a tile or window up to which they are counted exactly
_HLL_LOG_REGISTERS = 12  # standard error 1.6 %
_KLL_SIZE = 200  # rank error 1.3 % at 99 % confidence


class Partial(ABC):
    """A mergeable aggregate of some records."""

    @abstractmethod
    def add(self, time: int, value: Any) -> None:
        """Add one record's value; `time` in ms."""

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add the records of another partial of the same kind."""

    @abstractmethod
    def dump(self) -> Any:
        """Return the state as JSON values."""

    @abstractmethod
    def load(self, state: Any) -> None:
        """Restore what `dump` returned."""

    @abstractmethod
    def result(self, function: str, time: int) -> Any:
        """Return the value of `function` as of `time` (ms)."""


class _Count(Partial):
    def __init__(self) -> None:
        self.count = 0

    def add(self, time: int, value: Any) -> None:
        self.count += 1

    def merge(self, other: "_Count") -> None:
        self.count += other.count

    def dump(self) -> Any:
        return self.count

    def load(self, state: Any) -> None:
        self.count = state

    def result(self, function: str, time: int) -> int:
        return self.count


class _Moments(Partial):
    """Count, sum and sum of squares, without rounding."""

    def __init__(self) -> None:
        self.count = self.units = self.squares = 0

    def add(self, time: int, value: Any) -> None:
        units = exact.fixed(value)
        self.count += 1
        self.units += units
        self.squares += units * units

    def merge(self, other: "_Moments") -> None:
        self.count += other.count
        self.units += other.units
        self.squares += other.squares

    def dump(self) -> Any:
        return [self.count, hex(self.units), hex(self.squares)]

    def load(self, state: Any) -> None:
        self.count, self.units, self.squares = state[0], int(state[1], 16), int(state[2], 16)

    def result(self, function: str, time: int) -> float | None:
        if function == "sum":
            return exact.total(self.units)
        if function == "mean":
            return exact.total(self.units) / self.count if self.count else None
        variance = exact.variance(self.count, self.units, self.squares)
        return variance if function == "var" or variance is None else sqrt(variance)


class _Chosen(Partial):
    """The time and value of one record, selected from all."""

    def __init__(self) -> None:
        self.time: int | None = None
        self.value: Any = None

    def add(self, time: int, value: Any) -> None:
        if self.time is None or self.is_better(time, value):
            self.time, self.value = time, value

    def merge(self, other: "_Chosen") -> None:
        if other.time is not None:
            self.add(other.time, other.value)

    def dump(self) -> Any:
        return [self.time, self.value]

    def load(self, state: Any) -> None:
        self.time, self.value = state

    def result(self, function: str, time: int) -> Any:
        if function == "time_since_last":
            return None if self.time is None else (time - self.time) / 1000
        return float(self.value) if isinstance(self.value, bool) else self.value

    @abstractmethod
    def is_better(self, time: int, value: Any) -> bool:
        """Return whether this record replaces the selected one."""


class _Smallest(_Chosen):
    def is_better(self, time: int, value: Any) -> bool:
        return bool(value < self.value)


class _Largest(_Chosen):
    def is_better(self, time: int, value: Any) -> bool:
        return bool(value > self.value)


class _First(_Chosen):
    def is_better(self, time: int, value: Any) -> bool:
        return self.time is None or time < self.time


class _Last(_Chosen):
    def is_better(self, time: int, value: Any) -> bool:
        return self.time is None or time >= self.time


class _Distinct(Partial):
    def __init__(self) -> None:
        self.values: set[Any] = set()
        self.sketch: Any = None

    def add(self, time: int, value: Any) -> None:
        if self.sketch is not None:
            self.sketch.update(value)
        else:
            self.values.add(value)
            self._bound()

    def merge(self, other: "_Distinct") -> None:
        if other.sketch is not None:
            self._to_sketch()
            union = hll_union(_HLL_LOG_REGISTERS)
            union.update(self.sketch)
            union.update(other.sketch)
            self.sketch = union.get_result()
        elif self.sketch is not None:
            for value in other.values:
                self.sketch.update(value)
        else:
            self.values |= other.values
            self._bound()

    def dump(self) -> Any:
        if self.sketch is None:
            return sorted(self.values)
        return b64encode(self.sketch.serialize_compact()).decode()

    def load(self, state: Any) -> None:
        if isinstance(state, str):
            self.sketch = hll_sketch.deserialize(b64decode(state))
        else:
            self.values = set(state)

    def result(self, function: str, time: int) -> int:
        return len(self.values) if self.sketch is None else round(self.sketch.get_estimate())

    def _bound(self) -> None:
        if len(self.values) > DISTINCT:
            self._to_sketch()

    def _to_sketch(self) -> None:
        if self.sketch is None:
            self.sketch = hll_sketch(_HLL_LOG_REGISTERS)
            for value in self.values:
                self.sketch.update(value)
            self.values = set()


class _Quantiles(Partial):
    def __init__(self) -> None:
        self.sketch = kll_doubles_sketch(_KLL_SIZE)

    def add(self, time: int, value: Any) -> None:
        self.sketch.update(float(value))

    def merge(self, other: "_Quantiles") -> None:
        self.sketch.merge(other.sketch)

    def dump(self) -> Any:
        return b64encode(self.sketch.serialize()).decode()

    def load(self, state: Any) -> None:
        self.sketch = kll_doubles_sketch.deserialize(b64decode(state))

    def result(self, function: str, time: int) -> float | None:
        if self.sketch.is_empty():
            return None
        return float(self.sketch.get_quantile(quantile(function) or 0.0, True))


_KINDS: dict[str, type[Partial]] = {
    "count": _Count,
    "moments": _Moments,
    "min": _Smallest,
    "max": _Largest,
    "first": _First,
    "last": _Last,
    "count_distinct": _Distinct,
    "quantiles": _Quantiles,
}
_KIND_OF = dict.fromkeys(("sum", "mean", "std", "var"), "moments") | {"time_since_last": "last"}


def kind_of(function: str) -> str:
    """Return the kind of partial that computes the function.

    >>> kind_of("mean"), kind_of("p95"), kind_of("max")
    ('moments', 'quantiles', 'max')
    """
    return "quantiles" if quantile(function) is not None else _KIND_OF.get(function, function)


def partial(kind: str) -> Partial:
    """Return a new, empty partial."""
    return _KINDS[kind]()
