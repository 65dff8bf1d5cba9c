"""Concept drift: a River detector over the error of the served predictions.

The detectors differ in their input and in what they detect, according to River's sources (0.26):

- ADWIN (Bifet and Gavaldà, 2007), KSWIN (Raab et al., 2020) and Page-Hinkley (Page, 1954) take the error as
  a number. ADWIN and KSWIN are two-sided and also fire when the model improves; Page-Hinkley runs in mode
  "up".
- DDM, EDDM, HDDM_A and HDDM_W take a bit, 1 for a wrong prediction, and detect a rise only. EDDM tests
  `== 1`, so a fractional error would count as a correct prediction. (FHDDM, which is not offered, takes 1 for
  a correct one.)
- All of them reset after a detection. KSWIN keeps its last window and draws the same random numbers again. It
  runs a Kolmogorov-Smirnov test for each label, some hundred times the cost of ADWIN.
- DDM fires at the first error if its first labels had none.

Only a rise of the error raises an alarm here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from river.drift import ADWIN, KSWIN, PageHinkley
from river.drift.binary import DDM, EDDM, HDDMA, HDDMW

from flows.core.drift.error_windows import Change, ErrorWindow, Recovery, SliceErrors
from flows.core.drift.levels import Cleared, Detector, Gate, Level, Position, SliceMove
from flows.errors import ConfigError


class ConceptAlarm(NamedTuple):
    """The error rose: its mean before and after the change, in the detector's input (a number or a bit).

    `width` is the number of labels after the change and `since` the time (ms) of the first of them.
    `position` is that of the label that raised the alarm. `slices` are up to three slices with the largest
    rise; for ADWIN it is over the window that it keeps, which begins earlier.
    """

    level: Level
    before: float
    after: float
    width: int
    since: int
    position: Position
    slices: tuple[SliceMove, ...] = ()


class _Kind(NamedTuple):
    """How to create a River detector, and whether its input is a bit."""

    make: Callable[..., Any]
    takes_bits: bool
    options: Mapping[str, Any]


_KINDS: dict[Detector, _Kind] = {
    "adwin": _Kind(ADWIN, False, {}),
    "ddm": _Kind(DDM, True, {}),
    "eddm": _Kind(EDDM, True, {}),
    "hddm_a": _Kind(HDDMA, True, {}),
    "hddm_w": _Kind(HDDMW, True, {}),
    "page_hinkley": _Kind(PageHinkley, False, {"mode": "up"}),
    "kswin": _Kind(KSWIN, False, {"seed": 0}),  # a replay must draw the same numbers
}


def make_detector(name: Detector, options: Mapping[str, Any]) -> Any:
    """Return a new River detector; `options` are its keyword arguments.

    Raises `ConfigError` for an unknown detector or argument.
    """
    if name not in _KINDS:
        raise ConfigError(f"there is no drift detector {name!r}; declare one of {', '.join(_KINDS)}")
    kind = _KINDS[name]
    try:
        return kind.make(**{**options, **kind.options})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"drift detector {name!r}: {error}; see the arguments of River's detector"
        ) from error


class ConceptDrift:
    """Runs the declared detector over one stream of errors.

    `warm_up` is in labels, `cool_down` in milliseconds of event time. Only DDM, EDDM, HDDM_A and HDDM_W raise
    warnings. `slices` names the columns by which the error is broken down. State: that of the detector, at
    most 512 sums, and 64 for each of the first 100 slices.
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
        self._takes_bits = _KINDS[detector].takes_bits
        self._gate = Gate(warm_up, cool_down)
        self._count = 0
        self._window = ErrorWindow()
        self._slices = SliceErrors(slices)
        self._is_warning = False
        self._recovery: Recovery | None = None  # while an alarm or a warning has not cleared

    def update(
        self, error: float, wrong: bool, time: int, position: Position, slices: Sequence[Any] = ()
    ) -> ConceptAlarm | Cleared | None:
        """Add the error (0 to 1) of a label at `time` (ms), and whether its prediction was wrong.

        `slices` are the event's values in the slice columns. An alarm or a warning clears when the error has
        recovered (see `Recovery`).
        """
        self._count += 1
        value = float(wrong) if self._takes_bits else error
        self._window.add(value, time)
        if slices:
            self._slices.add(slices, value, time)
        self._detector.update(value)
        level = self._level()
        if level is None:
            return self._recover(value, position)
        kept, window, slice_errors = self._change(), self._window, self._slices
        if level == "alarm":  # the detector has reset itself, too
            self._window, self._slices = ErrorWindow(), SliceErrors(slice_errors.columns)
        if kept.after <= kept.before or not self._gate.is_open(level, self._count, time):
            return None
        self._gate.close(level, time)
        # ADWIN's window begins before the change: good for slices, which need rows, but not to train on
        change = window.best_cut() if isinstance(self._detector, ADWIN) else kept
        self._recovery = Recovery(change)
        return ConceptAlarm(level, *change, position, slice_errors.moved(kept.since))

    def _level(self) -> Level | None:
        """Return the level that this label raised; consecutive warnings count once."""
        was_warning = self._is_warning
        self._is_warning = getattr(self._detector, "warning_detected", False)
        if self._detector.drift_detected:
            return "alarm"
        return "warning" if self._is_warning and not was_warning else None

    def _recover(self, value: float, position: Position) -> Cleared | None:
        if self._recovery is None or not self._recovery.add(value):
            return None
        self._recovery = None
        return Cleared(position)

    def _change(self) -> Change:
        """Return the cut at the window that the detector keeps, or the best one if it names none."""
        if isinstance(self._detector, ADWIN):
            return self._window.cut(int(self._detector.width), self._detector.total)
        if isinstance(self._detector, KSWIN):
            return self._window.cut(len(self._detector.window), sum(self._detector.window))
        return self._window.best_cut()
