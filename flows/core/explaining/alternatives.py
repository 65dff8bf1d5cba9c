"""What would have changed a score most."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flows.core.explaining.output import Function
from flows.core.models.tasks import Features


class Alternative(NamedTuple):
    """The score if one feature had another value, and all others had theirs."""

    feature: str
    value: Any
    score: float
    change: float


def alternatives(served: Function, features: Features, background: Sequence[Features]) -> list[Alternative]:
    """Return, for each feature that matters, the value of the background that changes the score most.

    The largest change comes first. `served` returns the score.
    """
    score = served(dict(features))
    found = [
        max(_replaced(served, features, score, name, background), key=_size, default=None)
        for name in features
    ]
    return sorted((each for each in found if each is not None and each.change), key=_size, reverse=True)


def _replaced(
    served: Function, features: Features, score: float, name: str, background: Sequence[Features]
) -> Iterable[Alternative]:
    """Yield the score with each other value that the feature has in the background."""
    values = dict.fromkeys(row[name] for row in background)
    for value in values:
        if value != features[name]:
            changed = served({**features, name: value})
            yield Alternative(name, value, changed, changed - score)


def _size(alternative: Alternative) -> float:
    return abs(alternative.change)
