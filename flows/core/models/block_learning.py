"""Trains models on blocks of events, with the same result as one event after another.

A linear model of River learns a block without River's calls: the scaler goes through one column after the
other, and the weights through the rows. Each number is computed by River's operations in River's order, so
the model has the same bits. What cannot be computed so is left to River, event by event.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple, Protocol

from river import compose, linear_model, optim, preprocessing

from flows.core.models.frozen_scaler import is_standard
from flows.core.models.model import Model
from flows.core.models.tasks import Truth

Row = Sequence[Any]

COMPILE_FROM = 8  # rows; River learns fewer of them as fast

_REGRESSIONS = (linear_model.LogisticRegression, linear_model.LinearRegression)


def learn_block(
    model: Model, names: Sequence[str], rows: Sequence[Row], truths: Sequence[Truth]
) -> list[Exception | None]:
    """Train a model on rows of the features `names`; return the error of each row, None where it succeeded.

    The truths are those of a task that learns from labels.
    """
    if len(rows) >= COMPILE_FROM and _are_finite(rows):
        parts = _parts(model.estimator)
        if parts is not None and _learn(parts, names, rows, truths):
            model.learned += len(rows)
            return [None] * len(rows)
    return [
        model.learn(dict(zip(names, row, strict=True)), truth)
        for row, truth in zip(rows, truths, strict=True)
    ]


def _are_finite(rows: Iterable[Row]) -> bool:
    """Return whether no feature is a NaN or an infinity, which only `Model.learn` reports."""
    return all(map(_is_finite, zip(*rows, strict=True)))


def _is_finite(column: Sequence[Any]) -> bool:
    try:
        return isfinite(sum(column))
    except (TypeError, OverflowError):  # texts, nulls or large numbers
        return all(type(value) is not float or -inf < value < inf for value in column)


class _Parts(NamedTuple):
    """The parts of a linear model: functions of a row, perhaps a scaler, and the regression."""

    functions: Sequence[compose.FuncTransformer]
    scaler: preprocessing.StandardScaler | None
    regression: Any


def _parts(estimator: Any) -> _Parts | None:
    """Return the parts of a linear model; None for any other estimator."""
    steps = list(estimator.steps.values()) if type(estimator) is compose.Pipeline else [estimator]
    regression = steps.pop()
    scaler = steps.pop() if steps and is_standard(steps[-1]) else None
    are_functions = all(type(step) is compose.FuncTransformer for step in steps)
    return _Parts(steps, scaler, regression) if are_functions and _is_linear(regression) else None


def _is_linear(regression: Any) -> bool:
    if type(regression) not in _REGRESSIONS or regression.l1 or regression.l2:
        return False
    optimizer = regression.optimizer
    schedules = (optimizer.lr, regression.intercept_lr)
    return type(optimizer) in _DESCENTS and all(type(each) is optim.schedulers.Constant for each in schedules)


def _learn(parts: _Parts, names: Sequence[str], rows: Sequence[Row], truths: Sequence[Truth]) -> bool:
    """Train a linear model; return False, with nothing changed, if only River can learn these rows."""
    try:
        names, columns = _columns(parts.functions, names, rows)
        if not all(name in parts.regression._weights for name in names):
            return False
        scaled = None if parts.scaler is None else _Scaled(parts.scaler, names, columns)
        columns = columns if scaled is None else scaled.columns
        fitted = _Fitted(parts.regression, names, zip(*columns, strict=True), truths)
    except Exception:  # the user's function, or an extreme number: River shows in which row
        return False
    if scaled is not None:
        scaled.apply()
    fitted.apply()
    return True


def _columns(
    functions: Sequence[compose.FuncTransformer], names: Sequence[str], rows: Sequence[Row]
) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    """Return the names and columns that the functions give; raises `ValueError` if rows have other names."""
    if not functions:
        return names, zip(*rows, strict=True)
    found = [_prepared(functions, dict(zip(names, row, strict=True))) for row in rows]
    names = list(found[0])
    if any(list(each) != names for each in found):
        raise ValueError("the rows have different names")
    return names, zip(*(each.values() for each in found), strict=True)


def _prepared(functions: Sequence[compose.FuncTransformer], features: Mapping[str, Any]) -> Mapping[str, Any]:
    for function in functions:
        features = function.transform_one(features)
    return features


class _Scaled:
    """Columns as a scaler scales them while it learns them; `apply` changes the scaler."""

    def __init__(
        self, scaler: preprocessing.StandardScaler, names: Sequence[str], columns: Iterable[Sequence[Any]]
    ) -> None:
        self._scaler = scaler
        self._moments: dict[str, tuple[int, float, float]] = {}
        self.columns = [self._scaled(name, column) for name, column in zip(names, columns, strict=True)]

    def apply(self) -> None:
        scaler = self._scaler
        for name, (count, mean, variance) in self._moments.items():
            scaler.counts[name], scaler.means[name], scaler.vars[name] = count, mean, variance

    def _scaled(self, name: str, column: Sequence[Any]) -> Sequence[float]:
        scaler = self._scaler
        count, mean, variance = scaler.counts[name], scaler.means.get(name, 0.0), scaler.vars.get(name, 0.0)
        scaled = []
        for value in column:
            count += 1
            deviation = value - mean
            mean += deviation / count
            rest = value - mean
            variance += (deviation * rest - variance) / count
            scaled.append(rest / variance**0.5 if variance else 0.0)
        self._moments[name] = count, mean, variance
        return scaled


class _Fitted:
    """A regression as it is after it has learned rows; `apply` changes River's."""

    def __init__(
        self, regression: Any, names: Sequence[str], rows: Iterable[Row], truths: Sequence[Truth]
    ) -> None:
        self._regression = regression
        self._names = names
        self._count = len(truths)
        weights: Row = [regression._weights[name] for name in names]
        intercept, rate, largest = (
            regression.intercept,
            regression.intercept_lr.learning_rate,
            regression.clip_gradient,
        )
        gradient = regression.loss.gradient
        self._descent = _DESCENTS[type(regression.optimizer)](regression.optimizer, names)
        step = self._descent.step
        for row, truth in zip(rows, truths, strict=True):
            product = 0.0
            for weight, value in zip(weights, row):  # noqa: B905  `strict` costs .1 us
                product += weight * value
            slope = gradient(truth, product + intercept) * 1.0  # the event's weight, in River
            if not -largest <= slope <= largest:
                slope = max(min(slope, largest), -largest)
            intercept -= rate * slope
            weights = step(weights, row, slope)
        self._weights, self._intercept = weights, intercept

    def apply(self) -> None:
        regression = self._regression
        for name, weight in zip(self._names, self._weights, strict=True):
            regression._weights[name] = weight
        regression.intercept = self._intercept
        regression.optimizer.n_iterations += self._count
        self._descent.apply()


class _Descent(Protocol):
    """The steps of an optimizer with a constant learning rate; `apply` changes River's."""

    def __init__(self, optimizer: Any, names: Sequence[str]) -> None: ...

    def step(self, weights: Row, row: Row, slope: float) -> Row: ...

    def apply(self) -> None: ...


class _Plain:
    """Gradient descent."""

    def __init__(self, optimizer: optim.SGD, names: Sequence[str]) -> None:
        self._rate = optimizer.learning_rate

    def step(self, weights: Row, row: Row, slope: float) -> Row:
        rate = self._rate
        return [weight - value * slope * rate for weight, value in zip(weights, row)]  # noqa: B905  as above

    def apply(self) -> None: ...


class _Adaptive:
    """Gradient descent with a step size for each weight (Duchi et al., 2011)."""

    def __init__(self, optimizer: optim.AdaGrad, names: Sequence[str]) -> None:
        self._optimizer = optimizer
        self._names = names
        self._squares = [optimizer.g2.get(name, 0.0) for name in names]

    def step(self, weights: Row, row: Row, slope: float) -> Row:
        rate, eps = self._optimizer.learning_rate, self._optimizer.eps
        slopes = [value * slope for value in row]
        squares = [square + each**2 for square, each in zip(self._squares, slopes)]  # noqa: B905  as above
        self._squares = squares
        return [
            weight - rate / (square + eps) ** 0.5 * each
            for weight, square, each in zip(weights, squares, slopes)  # noqa: B905  as above
        ]

    def apply(self) -> None:
        self._optimizer.g2.update(zip(self._names, self._squares, strict=True))


_DESCENTS: Mapping[type, type[_Descent]] = {optim.SGD: _Plain, optim.AdaGrad: _Adaptive}
