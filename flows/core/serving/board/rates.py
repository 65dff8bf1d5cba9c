"""Rates of counters that are read now and then."""

from collections import deque
from collections.abc import Mapping
from itertools import pairwise

_SPAN = 10.0  # seconds; a rate is over at least so long, once the counters are known so long
_FORGET = 60.0  # seconds


class Rates:
    """The increase a second of counters, over the last ten seconds or more."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, float]]] = deque()

    def add(self, now: float, counts: Mapping[str, float]) -> None:
        """Add what the counters are at `now` (seconds).

        >>> rates = Rates()
        >>> rates.add(0.0, {"events": 100}), rates.of("events")
        (None, None)
        >>> rates.add(5.0, {"events": 150}), rates.of("events")
        (None, 10.0)
        """
        while len(self._seen) > 1 and (self._seen[1][0] <= now - _SPAN or self._seen[0][0] < now - _FORGET):
            self._seen.popleft()
        if self._seen and self._seen[0][0] < now - _FORGET:
            self._seen.clear()
        self._seen.append((now, dict(counts)))

    def of(self, name: str) -> float | None:
        """Return the rate of a counter; None until it was read twice. A counter that fell began again."""
        known = [(time, counts[name]) for time, counts in self._seen if name in counts]
        if len(known) < 2 or known[-1][0] <= known[0][0]:
            return None
        pairs = pairwise(known)
        grown = sum(after - before if after >= before else after for (_, before), (_, after) in pairs)
        return grown / (known[-1][0] - known[0][0])
