"""Linear models, compiled to score batches with numpy.

The scaled features are weighted and added one after another, as by River. So a score has the same bits as
River's, and does not depend on the rest of its batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from river import compose, linear_model

from flows.core.models.frozen_scaler import FrozenScaler, Row, frozen_scaler, is_standard
from flows.core.models.model import LARGEST, Model

_Weights = list[tuple[int, float]]  # the columns of features with a weight, and the weights


class LinearScorer:
    """Scores rows of features by a linear model that does not learn any more."""

    def __init__(
        self, scaler: FrozenScaler, weights: _Weights, intercept: float, link: Callable[[float], float]
    ) -> None:
        self.scaler = scaler
        self._weights = weights
        self._intercept = intercept
        self._link = link

    def score(self, rows: Sequence[Row]) -> list[float] | None:
        """Return the score of each row; None if a row has a feature or score that is no finite number."""
        scaled = self.scaler.scale(rows)
        if scaled is None:
            return None
        with np.errstate(all="ignore"):
            sums = np.zeros(len(rows))
            for column, weight in self._weights:
                sums += scaled[:, column] * weight
            sums += self._intercept
            if not (np.abs(sums) <= LARGEST).all():
                return None
        return [self._link(number) for number in sums.tolist()]


def compiled(model: Model, names: Sequence[str]) -> LinearScorer | None:
    """Return a scorer for rows of the features `names`; None if it cannot score exactly as the model does."""
    try:
        scorer = _scorer(model.estimator, names)
        if scorer is None:
            return None
        agrees = scorer.score(rows := scorer.scaler.usual_rows()) == [
            model.score(dict(zip(names, row, strict=True))) for row in rows
        ]
    except Exception:  # an estimator is user code
        return None
    return scorer if agrees else None


def _scorer(estimator: Any, names: Sequence[str]) -> LinearScorer | None:
    """Return the scorer of a linear model, with or without a scaler; None for any other estimator."""
    steps = list(estimator.steps.values()) if type(estimator) is compose.Pipeline else [estimator]
    *scalers, last = steps
    if type(last) not in _LINKS or len(scalers) > 1 or not all(map(is_standard, scalers)):
        return None
    scaler = frozen_scaler(scalers[0], names) if scalers else _no_scaler(len(names))
    weights = last.weights
    weighted = [(column, weights[name]) for column, name in enumerate(names) if name in weights]
    return LinearScorer(scaler, weighted, last.intercept, _LINKS[type(last)])


def _no_scaler(width: int) -> FrozenScaler:
    return FrozenScaler([0.0] * width, [1.0] * width)


def _sigmoid(number: float) -> float:
    """Return what River's `sigmoid` returns."""
    if number < -30:
        return 0.0
    return 1.0 if number > 30 else 1 / (1 + math.exp(-number))


def _identity(number: float) -> float:
    return number or 0.0  # -0.0 becomes 0.0, as in the score of a regression


_LINKS: dict[type, Callable[[float], float]] = {
    linear_model.LogisticRegression: _sigmoid,
    linear_model.LinearRegression: _identity,
}
