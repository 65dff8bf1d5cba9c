"""A score as a base and the contributions of its features."""

from collections.abc import Mapping, Sequence
from math import fsum
from types import MappingProxyType
from typing import NamedTuple

from flows.core.models.tasks import Features


class Attribution(NamedTuple):
    """The base, and what each feature adds to it; the total is the explained number.

    The base is the mean over `rows` rows of the background; with 0 rows it comes from the model itself.
    `errors` has the standard error of each contribution; it is empty if they are exact.
    """

    base: float
    rows: int
    contributions: Mapping[str, float]
    errors: Mapping[str, float] = MappingProxyType({})

    @property
    def total(self) -> float:
        """The base plus all contributions."""
        return fsum((self.base, *self.contributions.values()))


class RowContributions(NamedTuple):
    """The bases and the contributions of each input of a model for several rows, with a number for each row.

    `leaves` is the number of leaves that were visited for them, 0 for a linear model.
    """

    bases: list[float]
    contributions: dict[str, list[float]]
    leaves: int = 0


def mean(numbers: Sequence[float]) -> float:
    """Return the mean, rounded once."""
    return fsum(numbers) / len(numbers)


def varying(features: Features, background: Sequence[Features]) -> list[str]:
    """Return the names of the features that some row of the background has another value of."""
    return [name for name, value in features.items() if any(row[name] != value for row in background)]
