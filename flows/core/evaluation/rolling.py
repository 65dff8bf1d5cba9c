"""Recent quality: over the last labels, over the last period of event time, and with a fading factor.

A window keeps answers; a metric is computed from them when it is read, a few times a minute. River's
`utils.Rolling` and `utils.TimeRolling` revert old answers instead: that takes two updates per label,
accumulates rounding errors, needs a metric with `revert`, and `TimeRolling` never removes a late label.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Window(NamedTuple, Generic[T]):
    """The items of a period of event time; `whole` is false if the limit has dropped some of them."""

    items: list[T]
    whole: bool


class RecentItems(Generic[T]):
    """The last `limit` items in order of arrival, with their event times (ms).

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
        self._dropped: int | None = None  # the newest time among the items that the limit dropped

    def add(self, time: int, item: T) -> None:
        """Add an item; at the limit, the one that arrived first is dropped."""
        if len(self._items) == self._items.maxlen:
            oldest = self._items[0][0]
            self._dropped = oldest if self._dropped is None else max(self._dropped, oldest)
        self._items.append((time, item))
        self._newest = time if self._newest is None else max(self._newest, time)

    def last(self, count: int) -> list[T]:
        """Return the `count` items that arrived last, or fewer if fewer are kept."""
        skipped = max(0, len(self._items) - count)
        return [item for number, (_, item) in enumerate(self._items) if number >= skipped]

    def within(self, period: int) -> Window[T]:
        """Return the items, including late ones, with times in the `period` (ms) up to the newest."""
        if self._newest is None:
            return Window([], True)
        start = self._newest - period
        whole = self._dropped is None or self._dropped <= start
        return Window([item for time, item in self._items if time > start], whole)


def measure(make: Callable[[], Any], answers: Iterable[tuple[Any, Any]]) -> Any:
    """Return a new River metric, updated with these pairs of truth and answer.

    >>> from river import metrics
    >>> measure(metrics.Accuracy, [(True, True), (True, False)])
    Accuracy: 50.00%
    """
    metric = make()
    for truth, answer in answers:
        metric.update(truth, answer)
    return metric


class FadingMean:
    """The mean of a loss with a fading factor: each label weighs `alpha` times as much as the next one.

    The fading estimator of Gama, Sebastião and Rodrigues ("On evaluating stream learning algorithms", 2013):
    two numbers instead of a window, with a memory of about `1 / (1 - alpha)` labels. It needs a loss of
    single labels, such as an error, a squared error or a log loss. The area under the ROC curve is defined
    over pairs of labels, so it is computed over a window instead. Losses must be finite, since others would
    never fade.

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
        """Add the loss of a label."""
        self._sum = loss + self._alpha * self._sum
        self._weight = 1.0 + self._alpha * self._weight

    def get(self) -> float:
        """Return the mean, NaN before the first label."""
        return self._sum / self._weight if self._weight else float("nan")
