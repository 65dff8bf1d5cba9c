"""Retraining: a fresh model, trained on what was served and labelled since the change."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from flows.core.models import Model, Prediction
from flows.core.tasks import Truth


def train(
    model: Model,
    names: Sequence[str],
    served: Iterable[Prediction],
    truths: Mapping[str, Truth],
    failed: Callable[[Exception], object],
) -> Model:
    """Let `model` learn the logged features of every event whose truth is known, in the log's order.

    A model whose task does not learn from labels learns every event.
    Predictions that were made with another number of features are left out. An event that the model cannot
    learn goes to `failed`, as the error.
    """
    for prediction in served:
        truth = truths.get(prediction.id)
        known = truth is not None or not model.task.learns_from_labels
        if known and len(prediction.features) == len(names):
            error = model.learn(dict(zip(names, prediction.features, strict=True)), truth)
            if error is not None:
                failed(error)
    return model
