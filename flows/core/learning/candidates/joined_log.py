"""Joins the logged labels and predictions as the learner does, for a training."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flows.core.evaluation.evaluation import Baselines
from flows.core.evaluation.label_join import Joined, Label
from flows.core.evaluation.logged_join import LoggedJoin
from flows.core.learning.candidates.cuts import ASSUMED, Cut, early_ids
from flows.core.learning.training import LabelledRow
from flows.core.models.model import Prediction
from flows.core.models.tasks import Task, Truth
from flows.core.stream.broker import Record

_UNKNOWN = 100  # labels in a row without a prediction, after which no more are read


class JoinSettings(NamedTuple):
    """How a training joins labels: from `since` (ms) on, with the label wait (ms) of the pipeline."""

    since: int
    label_wait: int
    max_pending: int
    default_label: Truth | None


class JoinedLog:
    """Makes the rows of a training from records in the order of their time.

    The records begin one label wait before `since`, so that each label finds its prediction.
    """

    def __init__(self, task: Task, settings: JoinSettings) -> None:
        self._task = task
        self._settings = settings
        self._join = LoggedJoin(settings.label_wait, settings.max_pending, settings.default_label)
        self._baselines = Baselines(task)
        self._labels: dict[int, int] = {}  # next offsets by partition
        self._predictions: dict[int, int] = {}
        self._unknown = 0  # labels in a row without a prediction

    def predicted(self, prediction: Prediction, record: Record) -> Iterator[LabelledRow]:
        """Add a prediction; yield the rows that follow."""
        self._predictions[record.partition] = record.offset + 1
        self._unknown = 0
        yield from self._rows(self._join.advance(prediction.time, record))
        if not self._task.learns_from_labels:
            if prediction.time >= self._settings.since:
                yield LabelledRow(prediction.features, None)
            return
        joined = self._join.predicted(self._baselines.pending(prediction))
        if joined is not None:
            yield from self._rows([joined])

    def labelled(self, label: Label) -> Iterator[LabelledRow]:
        """Add a label; yield the rows that follow."""
        self._labels[label.record.partition] = label.record.offset + 1
        yield from self._rows(self._join.advance(label.time, label.record))
        joined = self._join.labelled(label)
        if isinstance(joined, Joined):
            self._unknown = 0
            yield from self._rows([joined])
        elif joined is None:
            self._unknown += 1

    @property
    def now(self) -> int:
        """The latest event time (ms) of a record."""
        return self._join.now

    @property
    def is_ahead(self) -> bool:
        """Whether so many labels in a row have no prediction that their predictions are yet to be made."""
        return self._unknown >= _UNKNOWN

    def cut(self) -> Cut:
        """Return where the training ends, if it learns all rows so far."""
        of_labels = self._task.learns_from_labels
        labels = dict(self._labels) if of_labels else {}
        if self._settings.default_label is not None and of_labels:
            labels[ASSUMED] = self._join.now
        early = early_ids(self._join.early)
        return Cut(self._settings.since, labels, dict(self._predictions), early, of_labels)

    def _rows(self, events: Iterable[Joined]) -> Iterator[LabelledRow]:
        for pending, label in events:
            if label.time >= self._settings.since:
                yield LabelledRow(pending.prediction.features, label.truth)
