"""Retraining: a fresh model, trained on what was served and labelled since the change."""

from collections.abc import Iterable, Mapping, Sequence

from flows.core.models import Model, Prediction


def train(
    model: Model, names: Sequence[str], served: Iterable[Prediction], truths: Mapping[str, bool]
) -> Model:
    """Let `model` learn the logged features of every event whose truth is known, in the log's order.

    Predictions that were made with another number of features are left out.
    """
    for prediction in served:
        truth = truths.get(prediction.id)
        if truth is not None and len(prediction.features) == len(names):
            model.learn(dict(zip(names, prediction.features, strict=True)), truth)
    return model
