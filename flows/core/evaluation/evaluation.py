"""Prequential evaluation of what was served, always beside the baselines that any model must beat.

Prequential: each label judges the prediction that was made before it was known (Dawid, 1984). The baselines
answer at the same moment as the model, with the labels known by then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from types import MappingProxyType
from typing import Any

from river.metrics.base import Metrics

from flows.core.evaluation.calibration import Calibration
from flows.core.evaluation.costs import CostCurve, Costs, ThresholdCost
from flows.core.evaluation.label_join import Joined, Pending
from flows.core.evaluation.rolling import RecentItems, measure
from flows.core.evaluation.skill import Losses, skills
from flows.core.evaluation.slices import Slices, fairness
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.models.tasks import BINARY, Binary, Task, Truth

PREDICTORS = ("model", "majority", "no-change")
RECENT = 1000  # labels
PERIOD = 86_400_000  # ms
KEPT = 2000  # labels: all of them move in each snapshot of the learner
FADING = 0.999  # the weight of a label beside the one after it: a memory of 1,000 labels

Values = dict[str, dict[str, float]]  # by predictor and by name


class Baselines:
    """What one would predict without a model: what the labels so far say, and the last label."""

    def __init__(self, task: Task = BINARY) -> None:
        self._baseline = task.baseline()

    def beside(self, prediction: Prediction) -> Pending:
        """The prediction and what the baselines say at the same moment."""
        return Pending(prediction, self._baseline.majority, self._baseline.no_change)

    def learn(self, truth: Truth) -> None:
        """Take a label in."""
        self._baseline.learn(truth)


class Evaluation:
    """River's metrics of the served scores and of both baselines, since the first label and of late.

    `metrics` makes a fresh River metric, or several joined by `+`. As in River's own evaluation, no answer is
    not judged by them; as a loss it is a wrong one. The scores of a binary task are also judged by how well
    they are calibrated, for each value of the columns `slices` (which gives the places of their values among
    a prediction's features), and by what each threshold would have cost, where `costs` are known.

    State: the metrics' own, at most `KEPT` labels with three scores each, and counts: 40 numbers for
    calibration, 202 for the costs, four for each value of a slice's column (at most 51).
    """

    def __init__(
        self,
        metrics: Callable[[], Any],
        task: Task = BINARY,
        slices: Mapping[str, int] = MappingProxyType({}),
        costs: Costs | None = None,
    ) -> None:
        self._task = task
        self._fresh = metrics()  # to be copied, for a function cannot go into a snapshot
        self._metrics = {predictor: metrics() for predictor in PREDICTORS}
        # some metrics of classifiers judge the label, the others its probability
        self._judges_labels = getattr(self._fresh, "requires_labels", False)
        self._recent: RecentItems[tuple[Truth, tuple[Score, ...]]] = RecentItems(KEPT)
        self._losses = {name: Losses(PREDICTORS, FADING) for name in task.losses_named}
        is_binary = isinstance(task, Binary)
        self.calibration = Calibration() if is_binary else None
        self.slices = Slices(tuple(slices)) if is_binary and slices else None
        self._slices_at = tuple(slices.values())
        self._costs = costs
        self._curve = CostCurve() if is_binary and costs else None
        self.labels = 0

    def update(self, joined: Joined) -> None:
        """Judge one served score."""
        pending, label = joined.pending, joined.label
        truth, scores = label.truth, (pending.prediction.score, pending.majority, pending.no_change)
        for metric, score in zip(self._metrics.values(), scores, strict=True):
            answer = self._task.answer(score, truth, self._judges_labels)
            if answer is not None:
                metric.update(truth, answer)
        losses = zip(*[self._task.losses(score, truth) for score in scores], strict=True)
        for each, of_predictors in zip(self._losses.values(), losses, strict=True):
            each.update(of_predictors)
        if self.calibration is not None:
            self._count(pending.prediction, bool(truth))
        self._recent.add(label.time, (truth, scores))
        self.labels += 1

    def values(self) -> Values:
        """The value of each metric of each predictor since the first label."""
        return {predictor: _values(metric) for predictor, metric in self._metrics.items()}

    def recent(self) -> Values:
        """The same over the last `RECENT` labels."""
        return self._over(self._recent.last(RECENT))

    def assessment(self) -> dict[str, Any]:
        """All else that is known of the scores, ready for JSON, in which NaN is null.

        It measures two windows afresh, which costs as much as thousands of labels.
        """
        day = self._recent.within(PERIOD)
        return {
            "recent": {"labels": min(RECENT, self.labels), "metrics": self.recent()},
            "period": {"labels": len(day.items), "whole": day.whole, "metrics": self._over(day.items)},
            "losses": {name: _of_losses(losses) for name, losses in self._losses.items()},
            "calibration": None if self.calibration is None else _of_calibration(self.calibration),
            "slices": {} if self.slices is None else _of_slices(self.slices),
            "costs": self._priced(),
        }

    def _count(self, prediction: Prediction, truth: bool) -> None:
        score: Any = prediction.score
        if self.calibration is not None:
            self.calibration.update(score, truth)
        if self._curve is not None:
            self._curve.update(score, truth)
        if self.slices is not None and len(prediction.features) > max(self._slices_at):
            values = [prediction.features[at] for at in self._slices_at]
            self.slices.update(values, self._task.answer(score, truth, True), truth)

    def _over(self, judged: Sequence[tuple[Truth, tuple[Score, ...]]]) -> Values:
        fresh = partial(deepcopy, self._fresh)
        return {
            predictor: _values(measure(fresh, self._answers((truth, s[n]) for truth, s in judged)))
            for n, predictor in enumerate(PREDICTORS)
        }

    def _answers(self, scored: Iterable[tuple[Truth, Score]]) -> Iterator[tuple[Truth, Any]]:
        for truth, score in scored:
            answer = self._task.answer(score, truth, self._judges_labels)
            if answer is not None:
                yield truth, answer

    def _priced(self) -> dict[str, Any] | None:
        summary = self._curve.summary(self._costs) if self._curve and self._costs else None
        if summary is None:
            return None
        return {
            name: value._asdict() if isinstance(value, ThresholdCost) else value
            for name, value in summary._asdict().items()
        }


def _values(metric: Any) -> dict[str, float]:
    parts = metric if isinstance(metric, Metrics) else [metric]
    return {type(part).__name__: float(part.get()) for part in parts}


def _of_losses(losses: Losses) -> dict[str, dict[str, float]]:
    means, fading = losses.means(), losses.fading()
    return {"mean": means, "fading": fading, "skill": skills(means, "model")}


def _of_calibration(calibration: Calibration) -> dict[str, Any]:
    return {
        "expected_error": calibration.expected_error(),
        "brier": calibration.brier()._asdict(),
        "bins": [row._asdict() for row in calibration.table()],
    }


def _of_slices(slices: Slices) -> dict[str, Any]:
    tables = {column: slices.rates(column) for column in slices.columns}
    return {
        column: {"groups": [row._asdict() for row in rows], "fairness": fairness(rows)._asdict()}
        for column, rows in tables.items()
    }
