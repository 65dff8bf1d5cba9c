"""Scores with an exported model: functions, scalers and a linear model, with the bits of River."""

from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import Any

from .package import described
from .schema import Schema

_LARGEST = 1e150  # of a score, as in Driftline

_Values = Mapping[str, Any]
_Step = Callable[[_Values], _Values]


class EdgeModel:
    """A model of a verified package."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        description = described(files)
        self.pipeline: str = description["pipeline"]
        self.version: str = description["version"]
        self.learned: int = description["learned"]
        self.plan: str = description["plan"]
        self.schema = Schema(description["features"])
        self._steps = _steps(description["steps"], files)
        self._weights: dict[str, float] = description["weights"]
        self._intercept: float = description["intercept"]
        self._link = _LINKS[description["link"]]

    def score(self, features: _Values) -> float:
        """Return the score of features in the order of the schema.

        Raises `ArithmeticError` for a score that is not finite, and what a function of the package raises.
        """
        values = features
        for step in self._steps:
            values = step(values)
        weights, total = self._weights, 0.0
        for name, value in values.items():  # one after another in this order, as River does
            if name in weights:
                total += weights[name] * value
        score = self._link(total + self._intercept)
        if not -_LARGEST <= score <= _LARGEST:
            raise ArithmeticError(f"model {self.version} gives {score}")
        return score

    def answer(self, event: Any) -> dict[str, Any]:
        """Return the prediction for an event of the form {"id": ..., "features": {...}}, or its error."""
        event_id = event.get("id") if isinstance(event, dict) else None
        try:
            features = self.schema.checked(event)
            answer = {"id": event_id, "score": self.score(features)}
        except Exception as error:  # a function of the package is user code
            return {"id": event_id, "error": f"{type(error).__name__}: {error}"}
        return {**answer, "model": self.version, "learned": self.learned}

    def values(self, event: Any) -> list[Any]:
        """Return the features of a valid event in the order of the model, as in the stream's predictions."""
        return list(self.schema.checked(event).values())


def _steps(described_steps: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> list[_Step]:
    return [_KINDS[step["kind"]](step, files) for step in described_steps]


def _function(step: Mapping[str, Any], files: Mapping[str, bytes]) -> _Step:
    """Return a function of the package, whose code was verified."""
    names: dict[str, Any] = {"__name__": step["file"].removesuffix(".py")}
    exec(compile(files[step["file"]], step["file"], "exec"), names)  # noqa: S102 (signed by the project)
    found: _Step = names[step["function"]]
    return found


def _scaler(step: Mapping[str, Any], _: Mapping[str, bytes]) -> _Step:
    means, deviations = step["means"], step["deviations"]

    def scaled(values: _Values) -> _Values:
        found = {}
        for name, value in values.items():
            deviation = deviations.get(name)
            found[name] = (value - means[name]) / deviation if deviation else 0.0
        return found

    return scaled


def _union(step: Mapping[str, Any], files: Mapping[str, bytes]) -> _Step:
    """Return the union of several chains of steps; of equal names the first chain's stays, as in River."""
    chains = [_steps(each, files) for each in step["chains"]]

    def united(values: _Values) -> _Values:
        found: dict[str, Any] = {}
        for chain in reversed(chains):
            result = values
            for each in chain:
                result = each(result)
            found.update(result)
        return found

    return united


def _sigmoid(number: float) -> float:
    if number < -30:
        return 0.0
    return 1.0 if number > 30 else 1 / (1 + exp(-number))


def _identity(number: float) -> float:
    return number or 0.0  # -0.0 becomes 0.0


_KINDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, bytes]], _Step]] = {
    "function": _function,
    "scale": _scaler,
    "union": _union,
}
_LINKS: dict[str, Callable[[float], float]] = {"logistic": _sigmoid, "none": _identity}
