"""The importance of the inputs of a model over a few rows: the mean absolute contribution to its output.

Only the two methods that are exact and fast have it. The inputs are those of the regression or of the trees,
so the outputs of the functions and scalers before them: behind a function no exact contribution of the
pipeline's features is known. Without one, the inputs are the features.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from flows.core.explaining.attribution import RowContributions
from flows.core.explaining.linear import linear_contributions
from flows.core.explaining.output import explained_output
from flows.core.explaining.steps import steps_of, transformed
from flows.core.explaining.trees import tree_contributions
from flows.core.models.model import Model
from flows.core.models.tasks import Features

_ROUNDING = 1e-9  # of the sum of the contributions, relative to the output


class Importance(NamedTuple):
    """The mean absolute contribution of each input, and the leaves that were visited for it."""

    inputs: dict[str, float]
    leaves: int


def importance(model: Model, rows: Sequence[Features]) -> Importance | None:
    """Return the importance of each input over the rows.

    It is None for other models than linear ones and trees with constant leaves, for a model that fails on a
    row, and without rows.
    """
    if not rows:
        return None
    *transformers, predictor = steps_of(model.estimator)
    try:
        inputs = [transformed(transformers, row) for row in rows]
        found = linear_contributions(predictor, inputs) or _trees(predictor, inputs, model, rows)
        if found is None or not _adds_up(found, model, rows[0]):
            return None
    except Exception:  # an estimator is user code
        return None
    sizes = {name: sum(map(abs, values)) / len(values) for name, values in found.contributions.items()}
    if not all(map(isfinite, sizes.values())):
        return None
    return Importance({**dict.fromkeys(inputs[0], 0.0), **sizes}, found.leaves)


def _trees(
    predictor: Any, inputs: Sequence[Features], model: Model, rows: Sequence[Features]
) -> RowContributions | None:
    if model.task.name == "multiclass":
        labels = [explained_output(model, row).label for row in rows]
    else:
        labels = [explained_output(model, rows[0]).label] * len(rows)
    return tree_contributions(predictor, inputs, labels)


def _adds_up(found: RowContributions, model: Model, row: Features) -> bool:
    """Return whether the contributions to the first row are those of the model."""
    total = found.bases[0] + sum(values[0] for values in found.contributions.values())
    number = explained_output(model, row).function(row)
    return abs(total - number) <= _ROUNDING * max(1.0, abs(number))
