"""Scores single events with models that learn between them, as a backtest does."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from flows.core.features.batch import Question
from flows.core.features.plan import FeaturePlan
from flows.core.models.model import Lineup, Prediction

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does


class InputReader:
    """Reads the event fields that a model gets."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._read = itemgetter(*names) if len(names) > 1 else self._each

    def __call__(self, payload: Mapping[str, Any]) -> Sequence[Any]:
        """Return the values; a missing one is null."""
        try:
            values: Sequence[Any] = self._read(payload)
        except KeyError:
            return self._each(payload)
        return values

    def rows(self, payloads: Sequence[Mapping[str, Any]]) -> list[Sequence[Any]]:
        """Return the values of each payload; a missing one is null."""
        try:
            return list(map(self._read, payloads))
        except KeyError:
            return list(map(self, payloads))

    def _each(self, payload: Mapping[str, Any]) -> Sequence[Any]:
        return [payload.get(name) for name in self._names]


class EventScorer:
    """Scores events with the models in service.

    The features of a model are the event's fields `inputs`, then those of the feature plan.
    """

    def __init__(self, inputs: Sequence[str], plan: FeaturePlan) -> None:
        self._inputs = InputReader(inputs)
        self._names = (*inputs, *plan.names)

    def predict(
        self,
        question: Question,
        vector: Sequence[Any],
        lineup: Lineup,
        failed: Callable[[Exception], object],
    ) -> Prediction:
        """Return the prediction for an event with this feature vector.

        Raises any error of the champion, since an estimator is user code. Challengers that fail to
        score are skipped, and their errors are passed to `failed`.
        """
        served = [*self._inputs(question.payload), *vector]
        features = dict(zip(self._names, served))  # noqa: B905  `strict` costs .15 us
        champion = lineup.champion
        score = champion.score(features)
        shadows = lineup.shadow_scores(features, failed)
        return _tuple(Prediction, (question.id, question.time, score, champion.version, shadows, served))
