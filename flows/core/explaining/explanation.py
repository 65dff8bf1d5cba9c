"""Explains one score of a model: by the method that is exact for it, or by sampling."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from flows.core.explaining.alternatives import Alternative, alternatives
from flows.core.explaining.attribution import Attribution
from flows.core.explaining.linear import linear_attribution
from flows.core.explaining.output import ExplainedOutput, explained_output
from flows.core.explaining.sampling import coalitions_attribution, sampled_attribution
from flows.core.explaining.trees import tree_attribution
from flows.core.models.model import Model
from flows.core.models.tasks import Features
from flows.core.user_code import describe
from flows.errors import ConfigError

Method = Literal["linear", "trees", "coalitions", "sampling"]

_ROUNDING = 1e-9  # of the sum of an exact explanation, relative to the output


class Contribution(NamedTuple):
    """What a feature with this value adds to the base; `error` is a standard error, None if it is exact."""

    feature: str
    value: Any
    contribution: float
    error: float | None


class Explanation(NamedTuple):
    """A score as a base and the contributions of the features, the largest first.

    `output` is the number that is explained, in `unit`; the base and the contributions add up to it. The base
    is the mean over `rows` rows of the background; with 0 rows, over the events that the trees have learned.
    `alternatives` has what would have changed the score most. `scores` counts the scores that were computed.
    """

    unit: str
    output: float
    base: float
    rows: int
    method: Method
    contributions: Sequence[Contribution]
    alternatives: Sequence[Alternative]
    scores: int


def explain(model: Model, features: Features, background: Sequence[Features]) -> Explanation:
    """Explain the score of `features` against the rows of the background, of which there is at least one.

    Raises `ConfigError` if the model fails on a row that mixes two rows.
    """
    try:
        return _explained(model, features, background)
    except Exception as error:  # an estimator is user code
        raise ConfigError(
            "the model must score any combination of served values to be explained, got "
            f"{describe(error)}; correct the model, or the function before it"
        ) from error


def _explained(model: Model, features: Features, background: Sequence[Features]) -> Explanation:
    output = explained_output(model, features)
    counted = _Counted(output)
    method, attribution = _attribution(model.estimator, counted.output, features, background)
    return Explanation(
        unit=output.unit,
        output=output.function(features),
        base=attribution.base,
        rows=attribution.rows,
        method=method,
        contributions=_sorted(attribution, features),
        alternatives=alternatives(counted.output.served, features, background),
        scores=counted.scores,
    )


def _attribution(
    estimator: Any, output: ExplainedOutput, features: Features, background: Sequence[Features]
) -> tuple[Method, Attribution]:
    """Return the contributions by the first method that is exact, otherwise by sampling."""
    number = output.function(features)
    linear = linear_attribution(estimator, features, background)
    if linear is not None and _adds_up(linear, number):
        return "linear", linear
    trees = tree_attribution(estimator, features, output.label)
    if trees is not None and _adds_up(trees, number):
        return "trees", trees
    coalitions = coalitions_attribution(output.function, features, background)
    if coalitions is not None:
        return "coalitions", coalitions
    return "sampling", sampled_attribution(output.function, features, background)


def _adds_up(attribution: Attribution, number: float) -> bool:
    """Return whether the contributions are those of the model, whose inner values were read."""
    return abs(attribution.total - number) <= _ROUNDING * max(1.0, abs(number))


def _sorted(attribution: Attribution, features: Features) -> list[Contribution]:
    contributions = [
        Contribution(name, features[name], number, attribution.errors.get(name))
        for name, number in attribution.contributions.items()
    ]
    return sorted(contributions, key=lambda each: abs(each.contribution), reverse=True)


class _Counted:
    """An output that counts in `scores` how often it is computed."""

    def __init__(self, output: ExplainedOutput) -> None:
        self.scores = 0
        self._output = output
        self.output = output._replace(function=self._explained, served=self._served)

    def _explained(self, features: Features) -> float:
        self.scores += 1
        return self._output.function(features)

    def _served(self, features: Features) -> float:
        self.scores += 1
        return self._output.served(features)
