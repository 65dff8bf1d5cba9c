"""Trains a candidate on logged events, and measures a model on them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from flows.core.learning.outliers import OutlierFilter
from flows.core.models.model import Model


class LabelledRow(NamedTuple):
    """The served features of an event and its truth, None if the task does not learn from labels."""

    features: Sequence[Any]
    truth: Any


class Training:
    """Trains `model` on rows of the features `names`, with outliers treated as in the learner.

    Rows with another number of features are skipped, and errors of the model are passed to `failed`. `rows`
    counts those learned.
    """

    def __init__(
        self,
        model: Model,
        names: Sequence[str],
        outliers: OutlierFilter,
        failed: Callable[[Exception], object],
    ) -> None:
        self.model = model
        self.names = names
        self.rows = 0
        self._outliers = outliers
        self._failed = failed

    def learn(self, row: LabelledRow) -> None:
        """Learn a row."""
        if len(row.features) != len(self.names):
            return
        filtered = self._outliers.apply(row.features, row.truth)
        if filtered.features is None:
            return
        error = self.model.learn(filtered.features, filtered.truth)
        if error is None:
            self.rows += 1
        else:
            self._failed(error)


def prequential_loss(training: Training, rows: Iterable[LabelledRow], unscored: int = 0) -> float | None:
    """Return the mean loss, by the model's task, over rows that are each scored and then learned.

    The first `unscored` rows are only learned. Returns None if there is no further row with a truth, or one
    that the model cannot score.
    """
    total, count, loss, names = 0.0, 0, training.model.task.loss, training.names
    for number, row in enumerate(rows):
        if number >= unscored and row.truth is not None and len(row.features) == len(names):
            try:
                total += loss(training.model.score(dict(zip(names, row.features, strict=True))), row.truth)
                count += 1
            except Exception:  # an estimator is user code
                return None
        training.learn(row)
    return total / count if count else None
