"""Joins the predictions and labels of a log again, as the learner joined them."""

from collections.abc import Iterator

from flows.core.evaluation.label_join import Joined, LabelJoin
from flows.core.models.tasks import Truth
from flows.core.stream.broker import Record


class LoggedJoin(LabelJoin):
    """A join over records in the order of their time, which is its clock.

    `default` is the label of a prediction that has none within `wait` (ms), None if it is dropped.
    """

    def __init__(self, wait: int, limit: int, default: Truth | None) -> None:
        super().__init__(wait, limit)
        self.now = 0  # the latest event time (ms) of a record
        self._default = default

    def advance(self, time: int, record: Record) -> Iterator[Joined]:
        """Advance event time (ms) to that of a record; yield the predictions that get the default label."""
        if time <= self.now:
            return
        self.now = time
        if not self.is_due(time):
            return
        if self._default is None:
            self.give_up(time)
        else:
            yield from self.assume(time, self._default, record)
        for _ in self.expire(time):
            pass
