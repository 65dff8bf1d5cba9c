"""A model as steps that Python alone can run: functions, scalers, a union of them, and a linear model."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from river import compose, linear_model

from flows.core.models.frozen_scaler import is_standard
from flows.errors import ConfigError

_LINKS = {linear_model.LogisticRegression: "logistic", linear_model.LinearRegression: "none"}


class EdgeForm(NamedTuple):
    """The steps before a linear model, and its weights, intercept and link, as plain data."""

    steps: list[dict[str, Any]]
    weights: dict[str, float]
    intercept: float
    link: str


def edge_form(estimator: Any, exported: Callable[[Any], dict[str, Any]]) -> EdgeForm:
    """Return the form of an estimator; `exported` returns the step of a function.

    Raises `ConfigError`, which names the step that cannot be exported.
    """
    *before, last = _chain(estimator)
    link = _LINKS.get(type(last))
    if link is None:
        raise _refusal(last)
    weights = {name: float(weight) for name, weight in last.weights.items()}
    return EdgeForm(_steps(before, exported), weights, float(last.intercept), link)


def _chain(estimator: Any) -> Sequence[Any]:
    """Return the steps of a pipeline; those of a subclass may do anything."""
    return list(estimator.steps.values()) if type(estimator) is compose.Pipeline else [estimator]


def _steps(chain: Sequence[Any], exported: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    return [_step(each, exported) for each in chain]


def _step(step: Any, exported: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    if type(step) is compose.FuncTransformer:
        return exported(step.func)
    if type(step) is compose.TransformerUnion:
        chains = [_steps(_chain(each), exported) for each in step.transformers.values()]
        return {"kind": "union", "chains": chains}
    if is_standard(step):
        deviations = {name: float(variance) ** 0.5 for name, variance in step.vars.items()}
        return {
            "kind": "scale",
            "means": {name: float(step.means[name]) for name in deviations},
            "deviations": deviations,
        }
    raise _refusal(step)


def _refusal(step: Any) -> ConfigError:
    return ConfigError(
        f"{type(step).__name__} cannot be exported to the edge; the model must be LogisticRegression or "
        "LinearRegression, with functions and StandardScalers before it"
    )
