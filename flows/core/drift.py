"""Concept drift: ADWIN over the error of the served predictions, gated on direction and warm-up.

ADWIN (Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", 2007) is two-sided and
would also fire when the model gets better. Only a rise of the error is an alarm here.
"""

from collections import deque
from typing import NamedTuple

from river.drift import ADWIN

_MARK_EVERY = 32  # labels, as often as ADWIN itself looks for a cut


class Alarm(NamedTuple):
    """The error rose: its mean in the part of the window that ADWIN dropped, and in the part that it kept.

    `width` is the number of labels in that window and `since` the time (ms) of the first of them.
    """

    before: float
    after: float
    width: int
    since: int


class ConceptDrift:
    """Watches one stream of errors, each between 0 and 1.

    `cool_down` is in milliseconds of event time; `warm_up` in labels.
    """

    def __init__(self, delta: float, warm_up: int, cool_down: int) -> None:
        self._adwin = ADWIN(delta=delta, clock=_MARK_EVERY)
        self._warm_up = warm_up
        self._cool_down = cool_down
        self._count = 0
        self._quiet_until = 0
        self._marks: deque[tuple[int, int]] = deque()  # how many labels had come at which time

    def update(self, error: float, time: int) -> Alarm | None:
        """Take in the error that a label showed at `time` (ms)."""
        if self._count % _MARK_EVERY == 0:
            self._mark(time)
        self._count += 1
        width, total = self._adwin.width + 1, self._adwin.total + error
        self._adwin.update(error)
        if not self._adwin.drift_detected or self._count < self._warm_up or time < self._quiet_until:
            return None
        after = self._adwin.estimation
        before = (total - self._adwin.total) / (width - self._adwin.width)
        if after <= before:
            return None
        self._quiet_until = time + self._cool_down
        return Alarm(before, after, int(self._adwin.width), self._since())

    def _mark(self, time: int) -> None:
        self._marks.append((self._count, time))
        first_kept = self._count - self._adwin.width
        while len(self._marks) > 1 and self._marks[1][0] <= first_kept:
            self._marks.popleft()

    def _since(self) -> int:
        first_kept = self._count - self._adwin.width
        return next(time for count, time in reversed(self._marks) if count <= first_kept)
