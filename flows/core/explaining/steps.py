"""The steps of a River pipeline, and which of them keep features apart."""

from collections.abc import Sequence
from typing import Any

from river import compose, preprocessing

from flows.core.models.tasks import Features

# each output is a function of the input with the same name
_FEATURE_BY_FEATURE = (
    compose.Discard,
    compose.Select,
    preprocessing.MaxAbsScaler,
    preprocessing.MinMaxScaler,
    preprocessing.StandardScaler,
)


def steps_of(estimator: Any) -> list[Any]:
    """Return the steps of a River pipeline; any other estimator is the only step."""
    return list(estimator.steps.values()) if type(estimator) is compose.Pipeline else [estimator]


def predictor_of(estimator: Any) -> Any:
    """Return the last step of a River pipeline, or the estimator itself."""
    return steps_of(estimator)[-1]


def keep_features_apart(transformers: Sequence[Any]) -> bool:
    """Return whether each output of the transformers depends on the input of the same name alone."""
    return all(type(each) in _FEATURE_BY_FEATURE for each in transformers)


def transformed(transformers: Sequence[Any], features: Features) -> Features:
    """Return what the transformers make of the features; they learn nothing."""
    for each in transformers:
        features = each.transform_one(features)
    return features
