"""River's StandardScaler, frozen: it scales batches with numpy, to the same bits."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import compose, preprocessing

from flows.core.models.model import Model

Row = Sequence[Any]


class FrozenScaler:
    """Scales rows of numbers; the columns with a deviation of 0 become 0, as by River."""

    def __init__(self, means: Sequence[float], deviations: Sequence[float]) -> None:
        self._means = np.array(means, dtype=float)
        self._deviations = np.array(deviations, dtype=float)
        self._is_constant = self._deviations == 0
        self._pack = struct.Struct(f"{len(means)}d").pack

    def scale(self, rows: Sequence[Row]) -> NDArray[np.float64] | None:
        """Return the scaled rows; None if a row has a feature that is no finite number."""
        try:
            packed = b"".join([self._pack(*row) for row in rows])
        except (struct.error, OverflowError):
            return None
        features = np.frombuffer(packed).reshape(len(rows), len(self._means))
        if not np.isfinite(features).all():
            return None
        with np.errstate(all="ignore"):
            scaled: NDArray[np.float64] = (features - self._means) / self._deviations
        scaled[:, self._is_constant] = 0.0
        return scaled

    def usual_rows(self) -> list[list[float]]:
        """Return rows of usual features, to compare with River."""
        apart = np.arange(len(self._means)) / 7
        with np.errstate(all="ignore"):
            return [(self._means + apart + share * self._deviations).tolist() for share in (-1.5, 0.0, 0.5)]


def frozen_scaler(scaler: preprocessing.StandardScaler, names: Sequence[str]) -> FrozenScaler:
    """Return a scaler of rows of the features `names`."""
    variances = [scaler.vars.get(name, 0.0) for name in names]
    return FrozenScaler([scaler.means.get(name, 0.0) for name in names], [v**0.5 for v in variances])


def is_standard(step: Any) -> bool:
    """Return whether a step is a scaler that can be frozen; a subclass may do anything."""
    return type(step) is preprocessing.StandardScaler and step.with_std and step.window_size is None


def without_scaler(model: Model, names: Sequence[str]) -> tuple[FrozenScaler, Model] | None:
    """Return the first step of the model, frozen, and the model of the others, which scores scaled features.

    Return None if the first step cannot be frozen. Scaling is most of the work before a linear model or a
    tree: River takes twice as long for it as for a linear model.
    """
    estimator = model.estimator
    if type(estimator) is not compose.Pipeline:
        return None
    first, *others = estimator.steps.values()
    if not (others and is_standard(first)):
        return None
    try:
        scaler = frozen_scaler(first, names)
        if not _agrees(scaler, first, names):
            return None
        rest = others[0] if len(others) == 1 else compose.Pipeline(*others)
    except Exception:  # a scaler may hold anything; River then raises an error for each event
        return None
    return scaler, Model(model.version, rest, task=model.task)


def _agrees(frozen: FrozenScaler, scaler: preprocessing.StandardScaler, names: Sequence[str]) -> bool:
    """Return whether both give usual features the same values and order."""
    for row in frozen.usual_rows():
        scaled = frozen.scale([row])
        by_river = scaler.transform_one(dict(zip(names, row, strict=True)))
        if scaled is None or list(zip(names, scaled[0].tolist(), strict=True)) != list(by_river.items()):
            return False
    return True
