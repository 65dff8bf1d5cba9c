"""Linear models as numbers, for formats that have no River."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from river import compose, linear_model, preprocessing

from flows.errors import ConfigError

SUPPORTED = "LogisticRegression or LinearRegression, with or without a StandardScaler before it"


class LinearForm(NamedTuple):
    """A linear model: `link(sum(weight * (feature - mean) / deviation) + intercept)`.

    The columns are in the order of `names`. A deviation is never 0: where the scaler has 0, River's scaled
    feature is 0, so the weight is. With `probability` the link is the logistic function, otherwise there is
    none.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    probability: bool


def linear_form(estimator: Any, names: Sequence[str], to: str) -> LinearForm:
    """Return the form of an estimator over the features `names`.

    Raises `ConfigError`, which names the step that cannot be exported `to` a format such as "ONNX".
    """
    scaler, last = _steps(estimator, to)
    weights = [float(last.weights.get(name, 0.0)) for name in names]
    if scaler is None:
        means, deviations = [0.0] * len(names), [1.0] * len(names)
    else:
        means = [float(scaler.means.get(name, 0.0)) for name in names]
        deviations = [float(scaler.vars.get(name, 0.0)) ** 0.5 for name in names]
        weights = [
            weight if deviation else 0.0 for weight, deviation in zip(weights, deviations, strict=True)
        ]
        deviations = [deviation or 1.0 for deviation in deviations]
    return LinearForm(
        tuple(names),
        tuple(means),
        tuple(deviations),
        tuple(weights),
        float(last.intercept),
        isinstance(last, linear_model.LogisticRegression),
    )


def _steps(estimator: Any, to: str) -> tuple[Any, Any]:
    """Return the scaler, if any, and the regression; a subclass is refused, since it may do anything."""
    steps = list(estimator.steps.values()) if type(estimator) is compose.Pipeline else [estimator]
    *before, last = steps
    if type(last) not in (linear_model.LogisticRegression, linear_model.LinearRegression):
        raise _refusal(last, to)
    for step in before:
        if type(step) is not preprocessing.StandardScaler:
            raise _refusal(step, to)
    if len(before) > 1:
        raise _refusal(before[0], to, "a second StandardScaler")
    scaler = before[0] if before else None
    if scaler is not None and not (scaler.with_std and scaler.window_size is None):
        raise _refusal(scaler, to, "a StandardScaler without deviations, or over a window,")
    return scaler, last


def _refusal(step: Any, to: str, found: str = "") -> ConfigError:
    return ConfigError(
        f"{found or _named(step)} cannot be exported to {to}; the model must be {SUPPORTED}. "
        "The formats mlflow and bom take any model"
    )


def _named(step: Any) -> str:
    """Return what a user calls a step: its class, or the function that it wraps."""
    function = getattr(step, "func", None)
    if isinstance(step, compose.FuncTransformer) and function is not None:
        return f"the function {getattr(function, '__name__', 'of a FuncTransformer')!r}"
    return type(step).__name__
