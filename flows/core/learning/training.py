"""Retraining: a fresh model, trained on what was served and labelled since the change."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from flows.core.learning.outliers import OutlierFilter, Outliers
from flows.core.models.model import Model, Prediction
from flows.core.models.tasks import Truth


def train(
    model: Model,
    names: Sequence[str],
    served: Iterable[Prediction],
    truths: Mapping[str, Truth],
    failed: Callable[[Exception], object],
    outliers: Outliers = "clip",
) -> Model:
    """Let `model` learn the logged features of every event whose truth is known, in the log's order.

    A model whose task does not learn from labels learns every event.
    Predictions that were made with another number of features are left out. Outliers are treated as in the
    learner. An event that the model cannot learn goes to `failed`, as the error.
    """
    kept = OutlierFilter(names, outliers)
    for prediction in served:
        truth = truths.get(prediction.id)
        known = truth is not None or not model.task.learns_from_labels
        if known and len(prediction.features) == len(names):
            lesson = kept.lesson(prediction.features, truth)
            error = None if lesson.features is None else model.learn(lesson.features, lesson.truth)
            if error is not None:
                failed(error)
    return model
