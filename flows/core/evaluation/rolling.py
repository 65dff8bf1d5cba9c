"""Quality of late: over the last labels, over the last stretch of event time, and with fading memory.

A window keeps answers, and a metric is computed from them when it is read, a few times a minute. River's own
`utils.Rolling` and `utils.TimeRolling` take each answer out of the metric again: that costs two updates for
every label, leaves what rounding left behind, wants a metric with `revert`, and in time never lets go of a
label that was too late when it came.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Window(NamedTuple, Generic[T]):
    """The items of a stretch of event time; not `whole` where the limit has dropped some of them."""

    items: list[T]
    whole: bool


class RecentItems(Generic[T]):
    """The last `limit` items, in the order in which they came, with their event times (ms).

    >>> recent = RecentItems(limit=3)
    >>> for time, item in [(10, "a"), (40, "b"), (20, "late"), (50, "c")]:
    ...     recent.add(time, item)
    >>> recent.last(2)
    ['late', 'c']
    >>> recent.within(20), recent.within(50)
    (Window(items=['b', 'c'], whole=True), Window(items=['b', 'late', 'c'], whole=False))
    """

    def __init__(self, limit: int) -> None:
        self._items: deque[tuple[int, T]] = deque(maxlen=limit)
        self._newest: int | None = None
        self._dropped: int | None = None  # the newest time among those that the limit dropped

    def add(self, time: int, item: T) -> None:
        """Take an item in; where the limit is reached the one that came first goes."""
        if len(self._items) == self._items.maxlen:
            gone = self._items[0][0]
            self._dropped = gone if self._dropped is None else max(self._dropped, gone)
        self._items.append((time, item))
        self._newest = time if self._newest is None else max(self._newest, time)

    def last(self, count: int) -> list[T]:
        """The last `count` items to come, at most as many as are kept."""
        skipped = max(0, len(self._items) - count)
        return [item for number, (_, item) in enumerate(self._items) if number >= skipped]

    def within(self, period: int) -> Window[T]:
        """The items whose time is in the last `period` (ms) up to the newest, late ones as well."""
        if self._newest is None:
            return Window([], True)
        start = self._newest - period
        whole = self._dropped is None or self._dropped <= start
        return Window([item for time, item in self._items if time > start], whole)


def measure(make: Callable[[], Any], answers: Iterable[tuple[Any, Any]]) -> Any:
    """A fresh River metric that has taken in these pairs of truth and answer.

    >>> from river import metrics
    >>> measure(metrics.Accuracy, [(True, True), (True, False)])
    Accuracy: 50.00%
    """
    metric = make()
    for truth, answer in answers:
        metric.update(truth, answer)
    return metric


class FadingMean:
    """The mean of a loss in which each label weighs `alpha` times as much as the one after it.

    It is the fading estimator of Gama, Sebastião and Rodrigues ("On evaluating stream learning algorithms",
    2013), two numbers instead of a window; its memory is about `1 / (1 - alpha)` labels. It needs a loss for
    each label by itself, such as an error, a squared error or a log loss. The area under the ROC curve has
    none: it is about pairs of labels, so that nothing can be weighed down label by label, and it is read over
    a window. The loss has to be finite, since what is not would stay for ever.

    >>> fading = FadingMean(0.5)
    >>> for loss in (0.0, 1.0):
    ...     fading.update(loss)
    >>> round(fading.get(), 3)
    0.667
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._sum = 0.0
        self._weight = 0.0

    def update(self, loss: float) -> None:
        """Take in the loss of a label."""
        self._sum = loss + self._alpha * self._sum
        self._weight = 1.0 + self._alpha * self._weight

    def get(self) -> float:
        """The mean, NaN before the first label."""
        return self._sum / self._weight if self._weight else float("nan")
