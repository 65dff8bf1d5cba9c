"""Prequential evaluation of the served predictions, beside the baselines that any model must beat.

Prequential: each label judges the prediction that was made before the label was known (Dawid, 1984). The
baselines predict at the same time as the model, from the labels known by then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from types import MappingProxyType
from typing import Any

from river.metrics.base import Metrics

from flows.core.evaluation.calibration import Calibration
from flows.core.evaluation.costs import CostCurve, Costs, ThresholdCost
from flows.core.evaluation.label_join import Joined
from flows.core.evaluation.pending_block import Pending
from flows.core.evaluation.rolling import RecentItems, measure
from flows.core.evaluation.skill import Losses, skills
from flows.core.evaluation.slices import Slices, fairness
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.models.tasks import BINARY, Binary, Task, Truth

PREDICTORS = ("model", "majority", "no-change")
RECENT = 1000  # labels
PERIOD = 86_400_000  # ms
KEPT = 2000  # labels; all of them are stored in each snapshot of the learner
FADING = 0.999  # the fading factor: a memory of about 1,000 labels

Values = dict[str, dict[str, float]]  # by predictor and name of the metric


class Baselines:
    """The baselines of a task, updated with each label."""

    def __init__(self, task: Task = BINARY) -> None:
        self._baseline = task.baseline()

    def pending(self, prediction: Prediction) -> Pending:
        """Return the prediction together with the current predictions of the baselines."""
        return Pending(prediction, self._baseline.majority, self._baseline.no_change)

    def learn(self, truth: Truth) -> None:
        """Add a label."""
        self._baseline.learn(truth)


class Evaluation:
    """River's metrics of the served scores and of both baselines, over all labels and over recent ones.

    `metrics` returns a new River metric, or several joined by `+`. As in River's own evaluation, metrics skip
    events without an answer; the losses count no answer as wrong. A binary task is also evaluated by its
    calibration, by slice and, if `costs` are given, by the cost of each threshold. `slices` maps a column to
    its index among a prediction's features.

    State: that of the metrics, at most `KEPT` labels with three scores each, and counts: 40 numbers for
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
        self._fresh = metrics()  # copied for each window, since a snapshot cannot hold a function
        self._metrics = {predictor: metrics() for predictor in PREDICTORS}
        # Some metrics take the predicted label, others the score.
        self._metrics_take_labels = getattr(self._fresh, "requires_labels", False)
        self._recent: RecentItems[tuple[Truth, tuple[Score, ...]]] = RecentItems(KEPT)
        self._losses = {name: Losses(PREDICTORS, FADING) for name in task.loss_names}
        is_binary = isinstance(task, Binary)
        self.calibration = Calibration() if is_binary else None
        self.slices = Slices(tuple(slices)) if is_binary and slices else None
        self._slices_at = tuple(slices.values())
        self._costs = costs
        self._curve = CostCurve() if is_binary and costs else None
        self.labels = 0

    def update(self, joined: Joined) -> None:
        """Evaluate the served score of a labelled event."""
        pending, label = joined.pending, joined.label
        truth, scores = label.truth, (pending.prediction.score, pending.majority, pending.no_change)
        for metric, score in zip(self._metrics.values(), scores, strict=True):
            answer = self._answer(score, truth)
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
        """Return the value of each metric for each predictor, over all labels."""
        return {predictor: _values(metric) for predictor, metric in self._metrics.items()}

    def recent(self) -> Values:
        """Return the value of each metric for each predictor, over the last `RECENT` labels."""
        return self._over(self._recent.last(RECENT))

    def assessment(self) -> dict[str, Any]:
        """Return all other evaluation results as plain data for JSON, where NaN becomes null.

        It computes the metrics of two windows, which costs as much as thousands of labels.
        """
        day = self._recent.within(PERIOD)
        return {
            "recent": {"labels": min(RECENT, self.labels), "metrics": self.recent()},
            "period": {"labels": len(day.items), "whole": day.whole, "metrics": self._over(day.items)},
            "losses": {name: _losses_json(losses) for name, losses in self._losses.items()},
            "calibration": None if self.calibration is None else _calibration_json(self.calibration),
            "slices": {} if self.slices is None else _slices_json(self.slices),
            "costs": self._cost_summary(),
        }

    def _count(self, prediction: Prediction, truth: bool) -> None:
        score: Any = prediction.score
        if self.calibration is not None:
            self.calibration.update(score, truth)
        if self._curve is not None:
            self._curve.update(score, truth)
        if self.slices is not None and len(prediction.features) > max(self._slices_at):
            values = [prediction.features[at] for at in self._slices_at]
            self.slices.update(values, self._task.predicted_label(score), truth)

    def _over(self, judged: Sequence[tuple[Truth, tuple[Score, ...]]]) -> Values:
        fresh = partial(deepcopy, self._fresh)
        return {
            predictor: _values(measure(fresh, self._answers((truth, s[n]) for truth, s in judged)))
            for n, predictor in enumerate(PREDICTORS)
        }

    def _answer(self, score: Score, truth: Truth) -> Any:
        """Return the score in the form that the metrics take; None if the model gave no answer."""
        if self._metrics_take_labels:
            return self._task.predicted_label(score)
        return self._task.metric_input(score, truth)

    def _answers(self, scored: Iterable[tuple[Truth, Score]]) -> Iterator[tuple[Truth, Any]]:
        for truth, score in scored:
            answer = self._answer(score, truth)
            if answer is not None:
                yield truth, answer

    def _cost_summary(self) -> dict[str, Any] | None:
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


def _losses_json(losses: Losses) -> dict[str, dict[str, float]]:
    means, fading = losses.means(), losses.fading()
    return {"mean": means, "fading": fading, "skill": skills(means, "model")}


def _calibration_json(calibration: Calibration) -> dict[str, Any]:
    return {
        "expected_error": calibration.expected_error(),
        "brier": calibration.brier()._asdict(),
        "bins": [row._asdict() for row in calibration.table()],
    }


def _slices_json(slices: Slices) -> dict[str, Any]:
    tables = {column: slices.rates(column) for column in slices.columns}
    return {
        column: {"groups": [row._asdict() for row in rows], "fairness": fairness(rows)._asdict()}
        for column, rows in tables.items()
    }
