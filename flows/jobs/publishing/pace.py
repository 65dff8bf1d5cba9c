"""The pace of `publish`: the interface, and the pace that follows the clock."""

import time
from typing import Protocol

from flows.core.stream.broker import TopicPartition

Ends = dict[TopicPartition, int]  # the offset after the last record sent, by partition


class Pace(Protocol):
    """Decides when `publish` sends the next chunk, and when it releases labels."""

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Return whether a chunk whose last record is at `event_time` (ms) may be sent.

        `held` is the event time of the oldest label held back, None if there is none.
        """

    def rest(self) -> None:
        """Sleep before the next call of `is_time`."""

    def sent(self, first: int, ends: Ends) -> None:
        """Note that records were sent up to `ends`, the first of them at event time `first` (ms)."""

    def answered(self, ends: Ends) -> bool:
        """Return whether the predictor has read the events up to `ends`."""


class SpeedUp:
    """Lets event time pass `factor` times as fast as the clock."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._origin: tuple[float, int] | None = None  # clock (s) and event time (ms) of the first chunk
        self._remaining = 0.0  # seconds until the next chunk is due

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Return whether `event_time` (ms) is due by the clock."""
        if self._origin is None:
            self._origin = (time.monotonic(), event_time)
        began, first = self._origin
        due = began + (event_time - first) / 1000 / self._factor
        self._remaining = due - time.monotonic()
        return self._remaining <= 0

    def rest(self) -> None:
        """Sleep until the next chunk is due."""
        time.sleep(max(0.0, self._remaining))

    def sent(self, first: int, ends: Ends) -> None:
        """Ignore the progress: only the clock counts."""

    def answered(self, ends: Ends) -> bool:
        """Return True: labels are sent when their own time is due."""
        return True
