"""The number of a model that is explained."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from river import linear_model

from flows.core.explaining.steps import predictor_of, steps_of, transformed
from flows.core.models.model import Model
from flows.core.models.tasks import Features

Function = Callable[[Features], float]


class ExplainedOutput(NamedTuple):
    """A number that a model gives for features, and what it is called.

    `function` returns the number that is divided among the features, in `unit`. `served` returns the served
    score; of a score with several numbers, that of `label`.
    """

    unit: str
    function: Function
    served: Function
    label: Any


def explained_output(model: Model, features: Features) -> ExplainedOutput:
    """Return the number to explain: that in which the model is closest to a sum.

    It is the log-odds of a logistic regression, and the score of any other model: a probability, the
    probability of the most likely class, a value, or the score of an anomaly.
    """
    task = model.task
    if task.name == "multiclass":
        label = task.predicted_label(model.score(features))
        return _served(model, f"probability of {label!r}", label)
    if task.name == "binary" and type(predictor_of(model.estimator)) is linear_model.LogisticRegression:
        return _served(model, "log-odds", True)._replace(function=_log_odds(model.estimator))
    unit, label = _UNITS[task.name]
    return _served(model, unit, label)


_UNITS = {
    "anomaly": ("anomaly score", "score"),
    "binary": ("probability", True),
    "regression": ("value", None),
}


def _served(model: Model, unit: str, label: Any) -> ExplainedOutput:
    """Return the served score, or its number for the `label`, as the output to explain."""

    def served(features: Features) -> float:
        score = model.score(features)
        return score.get(label, 0.0) if isinstance(score, Mapping) else score

    return ExplainedOutput(unit, served, served, label)


def _log_odds(estimator: Any) -> Function:
    """Return the function from features to the sum that a logistic regression turns into a probability."""
    *transformers, regression = steps_of(estimator)
    weights, intercept = regression.weights, regression.intercept

    def log_odds(features: Features) -> float:
        row = transformed(transformers, features)
        return float(sum(weights.get(name, 0.0) * value for name, value in row.items()) + intercept)

    return log_odds
