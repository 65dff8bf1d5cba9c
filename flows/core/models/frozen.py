"""Models that do not learn any more, which score batches."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import Any

from flows.core.models.baselines import Score
from flows.core.models.frozen_scaler import FrozenScaler, without_scaler
from flows.core.models.linear import LinearScorer, compiled
from flows.core.models.model import Lineup, Model

COMPILE_FROM = 8  # rows; River scores fewer of them as fast as numpy does


class FrozenModel:
    """A model as it is in the messages of the learner, with the names of its features.

    A linear model is compiled when the first larger batch comes. Of any other model, a scaler in the first
    step scales such batches.
    """

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        self._model = model
        self._names = names

    def score(self, rows: Sequence[Sequence[Any]]) -> Sequence[Score | Exception]:
        """Return the score of each row, or the error of the estimator, which is user code."""
        if len(rows) >= COMPILE_FROM:
            if self._linear:
                if linear := self._linear.score(rows):
                    return linear
            elif self._behind_scaler:
                scaler, rest = self._behind_scaler
                scaled = scaler.scale(rows)
                if scaled is not None:
                    return _each(rest.score_finite, self._names, scaled.tolist())
        score = self._model.score_finite if _are_finite(rows) else self._model.score
        return _each(score, self._names, rows)

    @cached_property
    def _linear(self) -> LinearScorer | None:
        return compiled(self._model, self._names)

    @cached_property
    def _behind_scaler(self) -> tuple[FrozenScaler, Model] | None:
        return without_scaler(self._model, self._names)


class FrozenLineup:
    """The models of a line-up, frozen; `names` are their features.

    `version` and `learned` are those of the champion.
    """

    def __init__(self, lineup: Lineup, names: Sequence[str]) -> None:
        self.version = lineup.champion.version
        self.learned = lineup.champion.learned
        self._champion = FrozenModel(lineup.champion, names)
        self._challengers = {v: FrozenModel(model, names) for v, model in lineup.challengers.items()}

    def score(self, rows: Sequence[Sequence[Any]]) -> Sequence[Score | Exception]:
        """Return the champion's score for each row, or the error that it raised."""
        return self._champion.score(rows)

    def shadow_scores(
        self, rows: Sequence[Sequence[Any]], failed: Callable[[Exception], object]
    ) -> Sequence[Mapping[str, Score]]:
        """Return the challengers' scores for each row, by version.

        A challenger that fails to score is left out, and its error is passed to `failed`.
        """
        shadows: list[dict[str, Score]] = [{} for _ in rows]
        for version, model in self._challengers.items():
            for of_row, score in zip(shadows, model.score(rows), strict=True):
                if isinstance(score, Exception):
                    failed(score)
                else:
                    of_row[version] = score
        return shadows


def _each(
    score: Callable[[dict[str, Any]], Score], names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[Score | Exception]:
    """Return the score of each row, or the error of the estimator."""
    scores: list[Score | Exception] = []
    for row in rows:
        try:
            scores.append(score(dict(zip(names, row))))  # noqa: B905  `strict` costs .15 us
        except Exception as error:
            scores.append(error)
    return scores


def _are_finite(rows: Sequence[Sequence[Any]]) -> bool:
    """Return whether all features are finite numbers; False also for texts and nulls, and for a huge sum."""
    try:
        return isfinite(sum(map(sum, rows)))
    except (TypeError, OverflowError):
        return False
