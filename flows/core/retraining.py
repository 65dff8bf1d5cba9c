"""Retraining: a fresh model, trained on what was served and labelled since the change."""

from collections.abc import Iterable, Mapping, Sequence

from flows.core.models import Model, Prediction


def train(
    model: Model, names: Sequence[str], served: Iterable[Prediction], truths: Mapping[str, bool]
) -> Model:
    """Let `model` learn the logged features of every event whose truth is known, in the log's order."""
    for prediction in served:
        truth = truths.get(prediction.id)
        if truth is not None:
            model.learn(dict(zip(names, prediction.features, strict=True)), truth)
    return model
