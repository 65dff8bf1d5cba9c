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

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, NamedTuple

from river.drift import ADWIN, KSWIN, PageHinkley
from river.drift.binary import DDM, EDDM, HDDMA, HDDMW

from flows.core.drift import Detector, Gate, Level, Position
from flows.errors import ConfigError


class Alarm(NamedTuple):
    """The error rose: its mean in the part of the window before the change, and in the part since.

    `width` is the number of labels in the latter and `since` the time (ms) of the first of them. `position`
    is the label's at which the alarm was raised. The error is that which the detector takes: a number, or a
    bit.
    """

    level: Level
    before: float
    after: float
    width: int
    since: int
    position: Position


class Change(NamedTuple):
    """A cut in a window of errors, as in `Alarm`."""

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
    and HDDM_W; the others have none. State: the detector's own, and at most 512 sums.
    """

    def __init__(self, detector: Detector, options: Mapping[str, Any], warm_up: int, cool_down: int) -> None:
        self._detector = make_detector(detector, options)
        self._bits = _KINDS[detector].bits
        self._gate = Gate(warm_up, cool_down)
        self._count = 0
        self._window = _Window()
        self._warned = False

    def update(self, error: float, wrong: bool, time: int, position: Position) -> Alarm | None:
        """Take in the error (0 to 1) that a label showed at `time` (ms), and whether the answer was wrong."""
        self._count += 1
        value = float(wrong) if self._bits else error
        self._window.add(value, time)
        self._detector.update(value)
        level = self._level()
        if level is None:
            return None
        change = self._change()
        if level == "alarm":
            self._window = _Window()  # the detector begins anew, too
        if change.after <= change.before or not self._gate.is_open(level, self._count, time):
            return None
        self._gate.close(level, time)
        return Alarm(level, *change, position)

    def _level(self) -> Level | None:
        """The level that this label raised; of a run of warnings the first one."""
        warned, self._warned = self._warned, getattr(self._detector, "warning_detected", False)
        if self._detector.drift_detected:
            return "alarm"
        return "warning" if self._warned and not warned else None

    def _change(self) -> Change:
        if isinstance(self._detector, ADWIN):
            return self._window.cut(int(self._detector.width), self._detector.total)
        if isinstance(self._detector, KSWIN):
            return self._window.cut(len(self._detector.window), sum(self._detector.window))
        return self._window.best_cut()


class _Window:
    """The errors since the detector began, as sums of equally long blocks with the time of each one's first.

    At most `LIMIT` blocks: when they are full, each two become one.
    """

    LIMIT = 512

    def __init__(self) -> None:
        self._count = 0
        self._total = 0.0
        self._block = 1  # labels in a block
        self._sums: list[float] = []
        self._times: list[int] = []

    def add(self, value: float, time: int) -> None:
        """Take in the error of a label at `time` (ms)."""
        if self._count % self._block == 0:
            if len(self._sums) == self.LIMIT:
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

    def _halve(self) -> None:
        self._block *= 2
        self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
        self._times = self._times[::2]
