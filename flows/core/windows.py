"""Exact sliding windows over one entity's part of a stream, as of any event time.

A window of length w answers a question asked at t with the records whose time is in (t - w, t]. Records may
arrive out of order and questions may be asked about the past: as long as the records of that time are still
kept, the answer is the one that a full recomputation gives.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from math import fsum
from typing import Any, Literal

from flows.core.plan import View

Value = float | None
Outcome = Literal["added", "duplicate", "late"]

_LONG_AGO = -(2**62)
_WORTH_DROPPING = 64  # expired records that are dropped together, so that dropping costs nothing each


class _Sum:
    """The sum of the values in a window, compensated (Neumaier, 1974).

    Without the compensation one huge value would leave its rounding error behind when it goes.
    """

    __slots__ = ("compensation", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.compensation: float = 0

    def total(self, without: float) -> float:
        """The sum, less one of its values."""
        return (self.value - without) + self.compensation

    def enter(self, position: int, value: float) -> None:
        before = self.value
        self.value = after = before + value
        self.compensation += (
            (before - after) + value if abs(before) >= abs(value) else (value - after) + before
        )

    def leave(self, position: int, value: float) -> None:
        self.enter(position, -value)


class _Maximum:
    """The largest value in a window: a queue of candidates, each smaller than the one before it."""

    __slots__ = ("candidates",)

    def __init__(self) -> None:
        self.candidates: deque[tuple[int, float]] = deque()

    def enter(self, position: int, value: float) -> None:
        candidates = self.candidates
        while candidates and candidates[-1][1] <= value:
            candidates.pop()
        candidates.append((position, value))

    def leave(self, position: int, value: float) -> None:
        if self.candidates and self.candidates[0][0] == position:
            self.candidates.popleft()


class _Minimum(_Maximum):
    """The smallest value in a window: the queue of `_Maximum`, upside down."""

    __slots__ = ()

    def enter(self, position: int, value: float) -> None:
        candidates = self.candidates
        while candidates and candidates[-1][1] >= value:
            candidates.pop()
        candidates.append((position, value))


_ACCUMULATORS: dict[str, type[_Sum | _Maximum]] = {
    "sum": _Sum,
    "mean": _Sum,
    "max": _Maximum,
    "min": _Minimum,
}


class _Window:
    """One window length: which of the kept records are in it, and what they add up to."""

    __slots__ = ("accumulators", "length", "start", "stop")

    def __init__(self, length: int, accumulators: Sequence[tuple[int, _Sum | _Maximum]]) -> None:
        self.length = length
        self.accumulators = accumulators  # each beside the index of the column that it reads
        self.start = self.stop = 0  # positions, counted from the first record ever kept


class WindowState:
    """The kept records of one view for one entity, and the view's windows over them.

    `lateness` (milliseconds) is how far behind the newest time seen a question may be and still get the
    exact answer.
    """

    __slots__ = (
        "_base",
        "_columns",
        "_ids",
        "_keep",
        "_newest",
        "_now",
        "_outputs",
        "_seen",
        "_times",
        "_windows",
    )

    def __init__(self, view: View, lateness: int) -> None:
        self._windows, self._outputs = _compile(view)
        self._keep = lateness + max(window.length for window in self._windows)
        self._times: list[int] = []
        self._ids: list[str] = []
        self._columns: list[list[float]] = [[] for _ in view.columns]
        self._seen: dict[str, int] = {}  # id to time, of every record kept
        self._base = 0  # the position of _times[0]
        self._newest = _LONG_AGO  # the newest time seen, of a record or a question
        self._now = _LONG_AGO  # the time that the windows stand at

    def add(self, time: int, record_id: str, values: Sequence[float]) -> Outcome:
        """Take in a record; a duplicate id, or a record too old for every window, changes nothing."""
        if record_id in self._seen:
            return "duplicate"
        if time <= self._newest - self._keep:
            return "late"
        self._seen[record_id] = time
        if self._times and time < self._times[-1]:
            self._insert(bisect_right(self._times, time), time, record_id, values)
        else:
            self._times.append(time)
            self._ids.append(record_id)
            for column, value in zip(self._columns, values, strict=True):
                column.append(value)
        if time > self._newest:
            self._newest = time
        return "added"

    def ask(self, time: int, own_id: str | None = None) -> list[Value]:
        """The view's features as of `time`, in its order, without the record `own_id`.

        An empty window has the count and sum 0 and no mean, maximum or minimum.
        """
        if time > self._newest:
            self._newest = time
        own = self._position(own_id)
        if time < self._now:
            return self._recompute(time, own)
        for window in self._windows:
            self._advance(window, time)
        self._now = time
        answer = self._read(own)
        self._drop_expired()
        return answer

    def snapshot(self) -> list[Any]:
        """The state as plain JSON values; `restore` takes them."""
        windows = [
            [
                w.start,
                w.stop,
                [
                    [a.value, a.compensation] if isinstance(a, _Sum) else list(a.candidates)
                    for _, a in w.accumulators
                ],
            ]
            for w in self._windows
        ]
        return [self._times, self._ids, self._columns, self._base, self._newest, self._now, windows]

    def restore(self, state: list[Any]) -> None:
        """Stand where `snapshot` was taken, to the last bit of every sum."""
        self._times, self._ids, self._columns, self._base, self._newest, self._now, windows = state
        self._seen = dict(zip(self._ids, self._times, strict=True))
        for window, (start, stop, accumulators) in zip(self._windows, windows, strict=True):
            window.start, window.stop = start, stop
            for (_, accumulator), value in zip(window.accumulators, accumulators, strict=True):
                if isinstance(accumulator, _Sum):
                    accumulator.value, accumulator.compensation = value
                else:
                    accumulator.candidates = deque((position, v) for position, v in value)

    def _insert(self, index: int, time: int, record_id: str, values: Sequence[float]) -> None:
        self._times.insert(index, time)
        self._ids.insert(index, record_id)
        for column, value in zip(self._columns, values, strict=True):
            column.insert(index, value)
        self._rewind()

    def _rewind(self) -> None:
        """Let the next question add the windows up from the records, since one came in behind them."""
        for window in self._windows:
            window.start = window.stop = self._base
            for _, accumulator in window.accumulators:
                accumulator.__init__()  # type: ignore[misc]
        self._now = _LONG_AGO

    def _advance(self, window: _Window, time: int) -> None:
        times, base = self._times, self._base
        end, start, stop = base + len(times), window.start, window.stop
        while stop < end and times[stop - base] <= time:
            for column, accumulator in window.accumulators:
                accumulator.enter(stop, self._columns[column][stop - base])
            stop += 1
        oldest = time - window.length
        while start < stop and times[start - base] <= oldest:
            for column, accumulator in window.accumulators:
                accumulator.leave(start, self._columns[column][start - base])
            start += 1
        window.start, window.stop = start, stop

    def _read(self, own: int | None) -> list[Value]:
        answer: list[Value] = []
        for function, window, column, accumulator in self._outputs:
            count = window.stop - window.start
            excluded = own is not None and window.start <= own < window.stop
            if excluded:
                count -= 1
            if accumulator is None:
                answer.append(count)
            elif not count:
                answer.append(0 if function == "sum" else None)
            elif isinstance(accumulator, _Sum):
                total = accumulator.total(self._columns[column][own - self._base] if excluded else 0)  # type: ignore[operator]
                answer.append(total if function == "sum" else total / count)
            elif excluded and accumulator.candidates[0][0] == own:
                answer.append(self._aggregate(function, column, window.start, window.stop, own))
            else:
                answer.append(accumulator.candidates[0][1])
        return answer

    def _recompute(self, time: int, own: int | None) -> list[Value]:
        stop = self._base + bisect_right(self._times, time)
        return [
            self._aggregate(
                function, column, self._base + bisect_right(self._times, time - window.length), stop, own
            )
            for function, window, column, _ in self._outputs
        ]

    def _aggregate(self, function: str, column: int, start: int, stop: int, own: int | None) -> Value:
        positions = [p - self._base for p in range(start, stop) if p != own]
        if function == "count":
            return len(positions)
        values = [self._columns[column][p] for p in positions]
        if function == "sum":
            return fsum(values)
        if not values:
            return None
        return (
            fsum(values) / len(values)
            if function == "mean"
            else max(values)
            if function == "max"
            else min(values)
        )

    def _position(self, record_id: str | None) -> int | None:
        """Where the record with this id stands among the kept ones."""
        time = self._seen.get(record_id) if record_id is not None else None
        if time is None:
            return None
        index = bisect_right(self._times, time) - 1
        while self._ids[index] != record_id:
            index -= 1
        return self._base + index

    def _drop_expired(self) -> None:
        times = self._times
        horizon = self._newest - self._keep
        if len(times) < _WORTH_DROPPING or times[_WORTH_DROPPING - 1] > horizon:
            return
        expired = min(bisect_right(times, horizon), min(w.start for w in self._windows) - self._base)
        for record_id in self._ids[:expired]:
            del self._seen[record_id]
        del times[:expired], self._ids[:expired]
        for column in self._columns:
            del column[:expired]
        self._base += expired


_Output = tuple[str, _Window, int, _Sum | _Maximum | None]


def _compile(view: View) -> tuple[list[_Window], list[_Output]]:
    """The windows that the view needs, and where each of its features is read from."""
    accumulators: dict[tuple[int, type, int], _Sum | _Maximum] = {}
    for a in view.aggregates:
        if a.function != "count":
            kind = _ACCUMULATORS[a.function]
            accumulators.setdefault((a.window, kind, view.columns.index(a.column)), kind())
    windows = {
        length: _Window(
            length, [(column, acc) for (w, _, column), acc in accumulators.items() if w == length]
        )
        for length in dict.fromkeys(a.window for a in view.aggregates)
    }
    outputs: list[_Output] = []
    for a in view.aggregates:
        if a.function == "count":
            outputs.append((a.function, windows[a.window], 0, None))
        else:
            column = view.columns.index(a.column)
            outputs.append(
                (
                    a.function,
                    windows[a.window],
                    column,
                    accumulators[a.window, _ACCUMULATORS[a.function], column],
                )
            )
    return list(windows.values()), outputs
