"""Scores single events; predict flow and backtest share it."""

from collections.abc import Callable, Sequence
from typing import Any

from flows.core.features.batch import Question
from flows.core.features.plan import FeaturePlan
from flows.core.models.model import Lineup, Prediction


class EventScorer:
    """Scores events with the models in service.

    The features of a model are the event's fields `inputs`, then those of the feature plan.
    """

    def __init__(self, inputs: Sequence[str], plan: FeaturePlan) -> None:
        self._inputs = tuple(inputs)
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
        served = [*[question.payload.get(name) for name in self._inputs], *vector]
        features = dict(zip(self._names, served, strict=True))
        score = lineup.champion.score(features)
        shadows = lineup.shadow_scores(features, failed)
        return Prediction(question.id, question.time, score, lineup.champion.version, shadows, served)
