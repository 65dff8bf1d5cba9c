"""Retraining: trains a candidate on the predictions that were served and labelled since the change."""

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
    """Train `model` in log order on the served features of every event with a known truth, and return it.

    A task that does not learn from labels trains on every event. Predictions with another number of features
    are skipped, outliers are treated as in the learner, and errors of the model are passed to `failed`.
    """
    outlier_filter = OutlierFilter(names, outliers)
    for prediction in served:
        truth = truths.get(prediction.id)
        is_known = truth is not None or not model.task.learns_from_labels
        if is_known and len(prediction.features) == len(names):
            row = outlier_filter.apply(prediction.features, truth)
            error = None if row.features is None else model.learn(row.features, row.truth)
            if error is not None:
                failed(error)
    return model
