"""Concept drift: a detector of River over the error of the served predictions.

The detectors differ in what they are fed and in what they notice, as River's sources (0.26) say:

- ADWIN (Bifet and Gavaldà, 2007), KSWIN (Raab et al., 2020) and Page-Hinkley (Page, 1954) take the error
  itself, a number. ADWIN and KSWIN are two-sided and also fire when the model gets better; Page-Hinkley is
  told "up".
- DDM, EDDM, HDDM_A and HDDM_W take a bit, 1 for a wrong answer, and notice a rise only. EDDM compares with 1,
  so that any fraction would be a right answer to it. (FHDDM, which is not offered, wants 1 for a right one.)
- All of them begin anew after a detection; KSWIN too, although its source keeps its last window, and draws
  the same numbers again. It makes a Kolmogorov-Smirnov test for each label, some hundred times the cost of
  ADWIN.
- DDM that saw no error in its first labels fires at the first one.

Only a rise of the error is an alarm here.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

from river.drift import ADWIN, KSWIN, PageHinkley
from river.drift.binary import DDM, EDDM, HDDMA, HDDMW

from flows.core.drift.levels import LEAST_IN_SLICE, Cleared, Detector, Gate, Level, Position, SliceMove
from flows.errors import ConfigError

BLOCK = 500  # labels whose mean error says whether it is back


class ConceptAlarm(NamedTuple):
    """The error rose: its mean in the part of the window before the change, and in the part since.

    `width` is the number of labels in the latter and `since` the time (ms) of the first of them. `position`
    is the label's at which the alarm was raised. The error is that which the detector takes: a number, or a
    bit. `slices` are at most three, those in which it rose most.
    """

    level: Level
    before: float
    after: float
    width: int
    since: int
    position: Position
    slices: tuple[SliceMove, ...] = ()


class Change(NamedTuple):
    """A cut in a window of errors, as in `ConceptAlarm`."""

    before: float
    after: float
    width: int
    since: int


class _Kind(NamedTuple):
    """How River makes a detector, and whether it takes bits."""

    make: Callable[..., Any]
    bits: bool
    options: Mapping[str, Any]


_KINDS: dict[Detector, _Kind] = {
    "adwin": _Kind(ADWIN, False, {}),
    "ddm": _Kind(DDM, True, {}),
    "eddm": _Kind(EDDM, True, {}),
    "hddm_a": _Kind(HDDMA, True, {}),
    "hddm_w": _Kind(HDDMW, True, {}),
    "page_hinkley": _Kind(PageHinkley, False, {"mode": "up"}),
    "kswin": _Kind(KSWIN, False, {"seed": 0}),  # a replay must draw the same
}


def make_detector(name: Detector, options: Mapping[str, Any]) -> Any:
    """A fresh detector of River; `options` are its arguments by River's names.

    Raises `ConfigError` for a detector or an argument that there is not.
    """
    if name not in _KINDS:
        raise ConfigError(f"there is no drift detector {name!r}; declare one of {', '.join(_KINDS)}")
    kind = _KINDS[name]
    try:
        return kind.make(**{**options, **kind.options})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"drift detector {name!r}: {error}; see the arguments of River's") from error


class ConceptDrift:
    """Watches one stream of errors with the detector that the pipeline declares.

    `warm_up` is in labels; `cool_down` in milliseconds of event time. Warnings are those of DDM, EDDM, HDDM_A
    and HDDM_W; the others have none. `slices` names the columns by which the error is told apart. State: the
    detector's own, at most 512 sums, and 64 for each of the first 100 slices.
    """

    def __init__(
        self,
        detector: Detector,
        options: Mapping[str, Any],
        warm_up: int,
        cool_down: int,
        slices: Sequence[str] = (),
    ) -> None:
        self._detector = make_detector(detector, options)
        self._bits = _KINDS[detector].bits
        self._gate = Gate(warm_up, cool_down)
        self._count = 0
        self._window = _Window()
        self._slices = _Slices(slices)
        self._warned = False
        self._return: _Return | None = None  # while an alarm, or a warning, is not over

    def update(
        self, error: float, wrong: bool, time: int, position: Position, slices: Sequence[Any] = ()
    ) -> ConceptAlarm | Cleared | None:
        """Take in the error (0 to 1) that a label showed at `time` (ms), and whether the answer was wrong.

        `slices` are the values of its event in the columns of the slices. An alarm, or a warning, is over
        when the mean error of a block of 500 labels since is no more than a quarter of the rise above the
        level before.
        """
        self._count += 1
        value = float(wrong) if self._bits else error
        self._window.add(value, time)
        self._slices.add(slices, value, time)
        self._detector.update(value)
        level = self._level()
        if level is None:
            return self._is_over(value, position)
        change, of_slices = self._change(), self._slices
        if level == "alarm":  # the detector begins anew, too
            self._window, self._slices = _Window(), _Slices(of_slices.columns)
        if change.after <= change.before or not self._gate.is_open(level, self._count, time):
            return None
        self._gate.close(level, time)
        self._return = _Return(change)
        return ConceptAlarm(level, *change, position, of_slices.moved(change.since))

    def _level(self) -> Level | None:
        """The level that this label raised; of a run of warnings the first one."""
        warned, self._warned = self._warned, getattr(self._detector, "warning_detected", False)
        if self._detector.drift_detected:
            return "alarm"
        return "warning" if self._warned and not warned else None

    def _is_over(self, value: float, position: Position) -> Cleared | None:
        if self._return is None or not self._return.add(value):
            return None
        self._return = None
        return Cleared(position)

    def _change(self) -> Change:
        if isinstance(self._detector, ADWIN):
            return self._window.cut(int(self._detector.width), self._detector.total)
        if isinstance(self._detector, KSWIN):
            return self._window.cut(len(self._detector.window), sum(self._detector.window))
        return self._window.best_cut()


class _Return:
    """Waits for the error to come back from a rise."""

    def __init__(self, change: Change) -> None:
        self._low_enough = change.before + (change.after - change.before) / 4
        self._count = 0
        self._total = 0.0

    def add(self, value: float) -> bool:
        """Take in one error; whether it ends a block that is back."""
        self._count += 1
        self._total += value
        if self._count < BLOCK:
            return False
        mean = self._total / BLOCK
        self._count, self._total = 0, 0.0
        return mean <= self._low_enough


class _Window:
    """The errors since the detector began, as sums of equally long blocks with the time of each one's first.

    At most `limit` blocks, an even number: when they are full, each two become one.
    """

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._count = 0
        self._total = 0.0
        self._block = 1  # labels in a block
        self._sums: list[float] = []
        self._times: list[int] = []

    def add(self, value: float, time: int) -> None:
        """Take in the error of a label at `time` (ms)."""
        if self._count % self._block == 0:
            if len(self._sums) == self._limit:
                self._halve()
            self._sums.append(0.0)
            self._times.append(time)
        self._sums[-1] += value
        self._total += value
        self._count += 1

    def cut(self, width: int, total: float) -> Change:
        """The cut before the last `width` labels, the sum of whose errors is `total`."""
        dropped = self._count - width
        before = (self._total - total) / dropped
        return Change(before, total / width, width, self._times[dropped // self._block])

    def best_cut(self) -> Change:
        """The cut between blocks at which the mean rises most for their lengths (Hinkley, 1970).

        Where it rises at none, the whole window without a rise.
        """
        best, left, mean = 0.0, 0.0, self._total / self._count
        found = Change(mean, mean, self._count, self._times[0])
        for index, total in enumerate(self._sums[:-1], start=1):
            left += total
            at = index * self._block
            before, after = left / at, (self._total - left) / (self._count - at)
            contrast = sqrt(at * (self._count - at)) * (after - before)
            if contrast > best:
                best, found = contrast, Change(before, after, self._count - at, self._times[index])
        return found

    def around(self, time: int) -> tuple[int, float, int, float]:
        """Labels and sum of the blocks that began before `time` (ms), and of the others."""
        later = [index for index, began in enumerate(self._times) if began >= time]
        labels = sum(min(self._block, self._count - index * self._block) for index in later)
        total = sum(self._sums[index] for index in later)
        return self._count - labels, self._total - total, labels, total

    def _halve(self) -> None:
        self._block *= 2
        self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
        self._times = self._times[::2]


class _Slices:
    """The errors of each slice; those that come after the first `MOST` are not told apart."""

    MOST = 100

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._windows: dict[tuple[str, str], _Window] = {}

    def add(self, values: Sequence[Any], error: float, time: int) -> None:
        """Take in the error of a label whose event has these values in the columns."""
        for column, value in zip(self.columns, values, strict=True):
            key = (column, str(value))
            if key in self._windows or len(self._windows) < self.MOST:
                self._windows.setdefault(key, _Window(limit=64)).add(error, time)

    def moved(self, since: int) -> tuple[SliceMove, ...]:
        """At most three slices in which the error rose at `since` (ms), the largest rise first."""
        moves = []
        for key, window in self._windows.items():
            before, sum_before, after, sum_after = window.around(since)
            if min(before, after) >= LEAST_IN_SLICE:
                moves.append(SliceMove(*key, sum_before / before, sum_after / after, after))
        rises = [move for move in moves if move.after > move.before]
        return tuple(sorted(rises, key=lambda move: move.before - move.after)[:3])
