"""A limit of the requests of each caller: a bucket of tokens that fills with time."""

from collections import OrderedDict

MOST_CALLERS = 10_000  # that are remembered; the one that was silent longest is forgotten first


class RateLimit:
    """At most `rate` requests a second of each caller, and as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, and when (s)

    def wait(self, caller: str, now: float) -> float:
        """Count a request at `now` (seconds); return 0, or in how many seconds it would be within the limit.

        >>> limit = RateLimit(2)
        >>> limit.wait("a", 0.0), limit.wait("a", 0.0), limit.wait("a", 0.0), limit.wait("b", 0.0)
        (0.0, 0.0, 0.5, 0.0)
        >>> limit.wait("a", 0.5)
        0.0
        """
        left, then = self._left.pop(caller, (self._most, now))
        left = min(self._most, left + max(0.0, now - then) * self._rate)
        allowed = left >= 1.0
        self._left[caller] = (left - 1.0 if allowed else left, now)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._rate
