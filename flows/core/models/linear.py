"""Linear models, compiled to score batches with numpy.

The features are scaled, weighted and added one after another, as by River. So a score has the same bits as
River's, and does not depend on the rest of its batch.
"""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from river import compose, linear_model, preprocessing

from flows.core.models.model import LARGEST, Model
from flows.core.models.tasks.task import last_step

Row = Sequence[Any]


class _Term(NamedTuple):
    """What a feature adds to the sum: its scaled value times its weight."""

    column: int
    mean: float
    deviation: float
    weight: float


class LinearScorer:
    """Scores rows of features by a linear model that does not learn any more."""

    def __init__(
        self, width: int, terms: Sequence[_Term], intercept: float, link: Callable[[float], float]
    ) -> None:
        self._width = width
        self._terms = terms
        self._intercept = intercept
        self._link = link
        self._pack = struct.Struct(f"{width}d").pack

    def score(self, rows: Sequence[Row]) -> list[float] | None:
        """Return the score of each row; None if a row has a feature or score that is no finite number."""
        try:
            packed = b"".join([self._pack(*row) for row in rows])
        except (struct.error, OverflowError):
            return None
        features = np.frombuffer(packed).reshape(len(rows), self._width)
        with np.errstate(all="ignore"):
            sums = np.zeros(len(rows))
            for column, mean, deviation, weight in self._terms:
                sums += (features[:, column] - mean) / deviation * weight
            sums += self._intercept
            if not (np.isfinite(features).all() and (np.abs(sums) <= LARGEST).all()):
                return None
        return [self._link(number) for number in sums.tolist()]


def compiled(model: Model, names: Sequence[str]) -> LinearScorer | None:
    """Return a scorer for rows of the features `names`; None if it cannot score exactly as the model does."""
    try:
        terms = _terms(model.estimator, names)
        if terms is None:
            return None
        last = last_step(model.estimator)
        scorer = LinearScorer(len(names), terms, last.intercept, _LINKS[type(last)])
        agrees = scorer.score(rows := _rows(len(names), terms)) == [
            model.score(dict(zip(names, row, strict=True))) for row in rows
        ]
    except Exception:  # an estimator is user code
        return None
    return scorer if agrees else None


def _terms(estimator: Any, names: Sequence[str]) -> list[_Term] | None:
    """Return the terms of a linear model, with or without a scaler; None for any other estimator."""
    steps = list(estimator.steps.values()) if type(estimator) is compose.Pipeline else [estimator]
    *scalers, last = steps
    if type(last) not in _LINKS or len(scalers) > 1 or not all(map(_is_standard, scalers)):
        return None
    weights = last.weights
    terms = [
        _term(column, name, scalers, weights[name]) for column, name in enumerate(names) if name in weights
    ]
    return [term for term in terms if term.deviation]


def _is_standard(scaler: Any) -> bool:
    return type(scaler) is preprocessing.StandardScaler and scaler.with_std and scaler.window_size is None


def _term(column: int, name: str, scalers: Sequence[Any], weight: float) -> _Term:
    """Return the term of a feature; its deviation is 0 if all its values were equal, which scales it to 0."""
    if not scalers:
        return _Term(column, 0.0, 1.0, weight)
    (scaler,) = scalers
    return _Term(column, scaler.means.get(name, 0.0), scaler.vars.get(name, 0.0) ** 0.5, weight)


def _rows(width: int, terms: Sequence[_Term]) -> list[list[float]]:
    """Return rows of usual features, to compare the scores."""
    rows = []
    for deviations in (-1.5, 0.0, 0.5):
        row = [deviations] * width
        for column, mean, deviation, _ in terms:
            row[column] = mean + deviations * deviation + column / 7
        rows.append(row)
    return rows


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
