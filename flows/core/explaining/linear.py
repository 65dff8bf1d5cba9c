"""Exact contributions in a linear model."""

from collections.abc import Sequence
from typing import Any

from river import linear_model

from flows.core.explaining.attribution import Attribution, RowContributions, mean
from flows.core.explaining.steps import keep_features_apart, steps_of, transformed
from flows.core.models.tasks import Features

_REGRESSIONS = (linear_model.LinearRegression, linear_model.LogisticRegression)


def linear_attribution(
    estimator: Any, features: Features, background: Sequence[Features]
) -> Attribution | None:
    """Return the Shapley values in a linear model; None for any other estimator.

    The contribution of x_i with the weight w_i is w_i (x_i - E[x_i]), with the mean over the background
    (Štrumbelj and Kononenko, 2014). The base is the mean of the log-odds, or of the value, over the
    background. Scalers may come before the regression, since they scale each feature by itself.
    """
    *transformers, regression = steps_of(estimator)
    if type(regression) not in _REGRESSIONS or not keep_features_apart(transformers):
        return None
    weights = regression.weights
    row = transformed(transformers, features)
    others = [transformed(transformers, each) for each in background]
    means = {name: mean([other[name] for other in others]) for name in row}
    contributions = dict.fromkeys(features, 0.0)
    contributions |= {name: weights.get(name, 0.0) * (row[name] - means[name]) for name in row}
    base = regression.intercept + sum(weights.get(name, 0.0) * value for name, value in means.items())
    return Attribution(float(base), len(background), contributions)


def linear_contributions(regression: Any, rows: Sequence[Features]) -> RowContributions | None:
    """Return the Shapley values for rows of the regression's inputs, against the mean of these rows.

    None for any other estimator. An input that a row lacks is 0 in it.
    """
    if type(regression) not in _REGRESSIONS:
        return None
    weights = regression.weights
    names = list(dict.fromkeys(name for row in rows for name in row))
    base, contributions = regression.intercept, {}
    for name in names:
        weight, values = weights.get(name, 0.0), [row.get(name, 0.0) for row in rows]
        middle = sum(values) / len(values)
        contributions[name] = [weight * (value - middle) for value in values]
        base += weight * middle
    return RowContributions([float(base)] * len(rows), contributions)
