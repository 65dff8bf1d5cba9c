"""Prequential evaluation of the served predictions, beside the baselines that any model must beat.

Prequential: each label judges the prediction that was made before the label was known (Dawid, 1984). The
baselines predict at the same time as the model, from the labels known by then.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from river.metrics.base import Metrics

from flows.core.evaluation.calibration import Calibration
from flows.core.evaluation.costs import CostCurve, Costs, ThresholdCost
from flows.core.evaluation.label_join import Joined
from flows.core.evaluation.metric_updates import Answers, update_many
from flows.core.evaluation.pending_block import Pending
from flows.core.evaluation.rolling import RecentItems
from flows.core.evaluation.skill import Losses, skills
from flows.core.evaluation.slices import Slices, fairness
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.models.tasks import BINARY, Binary, Task, Truth

PREDICTORS = ("model", "majority", "no-change")
RECENT = 1000  # labels
PERIOD = 86_400_000  # ms
KEPT = 2000  # labels; all of them are stored in each snapshot of the learner
BLOCK = 500  # labels that are evaluated together; a smaller block costs more, a larger one is a longer pause
FADING = 0.999  # the fading factor: a memory of about 1,000 labels

Values = dict[str, dict[str, float]]  # by predictor and name of the metric

# the time (ms), the truth, the scores of the predictors, and the values of the slices' columns, if known
_Label = tuple[int, Truth, tuple[Score, Score, Score], list[Any] | None]


class Baselines:
    """The baselines of a task, updated with each label."""

    def __init__(self, task: Task = BINARY) -> None:
        self._baseline = task.baseline()

    def pending(self, prediction: Prediction) -> Pending:
        """Return the prediction together with the current predictions of the baselines."""
        baseline = self._baseline
        # A named tuple's own constructor takes twice as long, and there is one for each prediction.
        return tuple.__new__(Pending, (prediction, baseline.majority, baseline.no_change))

    def learn(self, truth: Truth) -> None:
        """Add a label."""
        self._baseline.learn(truth)


class Evaluation:
    """River's metrics of the served scores and of both baselines, over all labels and over recent ones.

    `metrics` returns a new River metric, or several joined by `+`. As in River's own evaluation, metrics skip
    events without an answer; the losses count no answer as wrong. A binary task is also evaluated by its
    calibration, by slice and, if `costs` are given, by the cost of each threshold. `slices` maps a column to
    its index among a prediction's features.

    Labels are evaluated in blocks, and before anything is read or stored. Where a block ends does not affect
    the results.

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
        self._recent: RecentItems[tuple[Truth, tuple[Score, ...]]] = RecentItems(KEPT)
        self._losses = {name: Losses(PREDICTORS, FADING) for name in task.loss_names}
        is_binary = isinstance(task, Binary)
        self._calibration = Calibration() if is_binary else None
        self._slices = Slices(tuple(slices)) if is_binary and slices else None
        self._slices_at = tuple(slices.values()) if is_binary else ()
        self._fewest = max(self._slices_at, default=-1) + 1  # features of a prediction that is in slices
        self._costs = costs
        self._curve = CostCurve() if is_binary and costs else None
        self._block: list[_Label] = []
        self.labels = 0

    def update(self, joined: Joined) -> None:
        """Evaluate the served score of a labelled event."""
        (prediction, majority, no_change), label = joined
        values = self._slices_of(prediction.features) if self._slices_at else None
        self._block.append((label.time, label.truth, (prediction.score, majority, no_change), values))
        self.labels += 1
        if len(self._block) >= BLOCK:
            self._evaluate_block()

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of a binary model."""
        self._evaluate_block()
        return self._calibration

    @property
    def slices(self) -> Slices | None:
        """The error rates of a binary model by slice."""
        self._evaluate_block()
        return self._slices

    def values(self) -> Values:
        """Return the value of each metric for each predictor, over all labels."""
        self._evaluate_block()
        return {predictor: _values(metric) for predictor, metric in self._metrics.items()}

    def recent(self) -> Values:
        """Return the value of each metric for each predictor, over the last `RECENT` labels."""
        self._evaluate_block()
        return self._over(self._recent.last(RECENT))

    def assessment(self) -> dict[str, Any]:
        """Return all other evaluation results as plain data for JSON, where NaN becomes null.

        It computes the metrics of two windows.
        """
        self._evaluate_block()
        day = self._recent.within(PERIOD)
        return {
            "recent": {"labels": min(RECENT, self.labels), "metrics": self.recent()},
            "period": {"labels": len(day.items), "whole": day.whole, "metrics": self._over(day.items)},
            "losses": {name: _losses_json(losses) for name, losses in self._losses.items()},
            "calibration": None if self._calibration is None else _calibration_json(self._calibration),
            "slices": {} if self._slices is None else _slices_json(self._slices),
            "costs": self._cost_summary(),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without a block, so that it does not depend on when it is stored."""
        self._evaluate_block()
        return self.__dict__

    def _slices_of(self, features: Sequence[Any]) -> list[Any] | None:
        """Return the values of the slices' columns, None if the features are of another feature plan."""
        return [features[at] for at in self._slices_at] if len(features) >= self._fewest else None

    def _evaluate_block(self) -> None:
        if not self._block:
            return
        times, truths, rows, values = zip(*self._block, strict=True)
        self._block = []
        columns = list(zip(*rows, strict=True))
        for metric, scores in zip(self._metrics.values(), columns, strict=True):
            update_many(metric, Answers(self._task, truths, scores))
        by_predictor = [self._task.losses(scores, truths) for scores in columns]
        for losses, of_predictors in zip(self._losses.values(), zip(*by_predictor, strict=True), strict=True):
            losses.update_many(of_predictors)
        if self._calibration is not None:
            self._calibration.update_many(columns[0], truths)
        if self._curve is not None:
            self._curve.update_many(columns[0], truths)
        if self._slices is not None:
            self._count_slices(self._slices, columns[0], truths, values)
        self._recent.extend(times, list(zip(truths, rows, strict=True)))

    def _count_slices(
        self, slices: Slices, scores: Sequence[Any], truths: Sequence[Any], values: Sequence[Any]
    ) -> None:
        known = [row for row in zip(values, scores, truths, strict=True) if row[0] is not None]
        if known:
            values, scores, truths = zip(*known, strict=True)
            answers = list(map(self._task.predicted_label, scores))
            slices.update_many(zip(*values, strict=True), answers, truths)

    def _over(self, judged: Sequence[tuple[Truth, tuple[Score, ...]]]) -> Values:
        truths = [truth for truth, _ in judged]
        columns = zip(*(scores for _, scores in judged), strict=True) if judged else [()] * len(PREDICTORS)
        found, fresh = {}, pickle.dumps(self._fresh)  # copies it in a fifth of the time of `deepcopy`
        for predictor, scores in zip(PREDICTORS, columns, strict=True):
            metric = pickle.loads(fresh)  # noqa: S301  written above
            update_many(metric, Answers(self._task, truths, scores))
            found[predictor] = _values(metric)
        return found

    def _cost_summary(self) -> dict[str, Any] | None:
        summary = self._curve.summary(self._costs) if self._curve and self._costs else None
        if summary is None:
            return None
        return {
            name: value._asdict() if isinstance(value, ThresholdCost) else value
            for name, value in summary._asdict().items()
        }


def metrics_by_name(metric: Any) -> dict[str, Any]:
    """Return a metric, or several joined by `+`, by name."""
    return {type(part).__name__: part for part in (metric if isinstance(metric, Metrics) else [metric])}


def _values(metric: Any) -> dict[str, float]:
    return {name: float(part.get()) for name, part in metrics_by_name(metric).items()}


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
