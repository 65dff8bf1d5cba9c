"""The four tasks: what an estimator is asked and taught, what is served, and how an answer is judged.

| task | truth | score |
|---|---|---|
| binary | `Flag` | the probability that it is true; 0.5 before the first label |
| multiclass | `Text` | the probability of each class; none before the first label |
| regression | `Number` | a number |
| anomaly | `Flag` | `score`, more for stranger, and `anomaly`, 1 where that is above the filter's threshold |
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isfinite, log
from typing import Any, Literal, Protocol

from river import base, metrics, stats

from flows.core.models.baselines import (
    Baseline,
    ClassBaseline,
    FlagBaseline,
    MeanBaseline,
    Score,
    ShareBaseline,
)
from flows.core.stream.fields import Field, Flag, Number, Text
from flows.errors import ConfigError

TaskName = Literal["binary", "multiclass", "regression", "anomaly"]
Truth = bool | str | float
Features = Mapping[str, Any]

UNDECIDED = 0.5  # the score of a classifier that has seen no label

_CLIP = 1e-15  # as in River's LogLoss and CrossEntropy


def log_loss(likelihood: float) -> float:
    """The negative logarithm of the truth's likelihood, which is clipped to `1e-15` from 0 and 1.

    >>> round(log_loss(0.8), 4), round(log_loss(0.0), 4)
    (0.2231, 34.5388)
    """
    return -log(min(max(likelihood, _CLIP), 1.0 - _CLIP))


class ErrorMeasure(Protocol):
    """The error of a served score, as drift detectors take it."""

    def __call__(self, score: Any, truth: Any) -> tuple[float, bool]:
        """A number from 0 to 1, and whether the answer was wrong."""


class Task(ABC):
    """What the engine has to know of a task. It has no state; what has some is made by it."""

    name: TaskName
    target: type[Field]  # of the label's field that holds the truth
    learns_from_labels = True  # or from each event as it is served
    losses_named: tuple[str, ...] = ("error_rate",)
    _needs: str  # for the text of an error

    @abstractmethod
    def fits(self, estimator: Any) -> bool:
        """Whether this is an estimator for the task."""

    def check(self, estimator: Any) -> None:
        """Raises `ConfigError` unless the estimator can do all that the task asks of it."""
        if not self.fits(estimator):
            raise ConfigError(
                f"task {self.name!r} needs {self._needs}, not {_named(estimator)}{_hint(estimator)}"
            )

    @abstractmethod
    def score(self, estimator: Any, features: Features) -> Score:
        """What the estimator answers."""

    def serves(self, score: Score) -> bool:
        """Whether a score, read back, has the form of this task's."""
        return not isinstance(score, Mapping)

    def said(self, score: Any) -> float | str:
        """The score as one number, or the name of a class, whose distribution is watched for drift."""
        number: float = score
        return number

    def learn(self, estimator: Any, features: Features, truth: Any) -> None:
        """Teach the estimator one event."""
        estimator.learn_one(features, truth)

    @abstractmethod
    def answer(self, score: Any, truth: Any, label: bool) -> Any:
        """The score as River's metrics take it beside `truth`, or the label it amounts to; None for none."""

    @abstractmethod
    def loss(self, score: Any, truth: Any) -> float:
        """How bad a score was, for the contest of two models."""

    def losses(self, score: Any, truth: Any) -> tuple[float, ...]:
        """The losses that are published, one for each of `losses_named`; no answer is a wrong one."""
        return (float(self.answer(score, truth, label=True) != truth),)

    @abstractmethod
    def error_measure(self) -> ErrorMeasure:
        """A fresh measure of the error for drift detectors."""

    @abstractmethod
    def baseline(self) -> Baseline:
        """Fresh baselines."""

    @abstractmethod
    def metrics(self) -> Any:
        """Fresh metrics of River, for pipelines that declare none."""


class Binary(Task):
    """Is it true? Log loss; the detectors get the squared error, and a wrong side of .5 as wrong."""

    name: TaskName = "binary"
    target: type[Field] = Flag
    losses_named = ("error_rate", "brier_score")
    _needs = "a classifier"

    def fits(self, estimator: Any) -> bool:
        return _is_classifier(estimator)

    def check(self, estimator: Any) -> None:
        super().check(estimator)
        _check_probabilities(estimator)

    def score(self, estimator: Any, features: Features) -> float:
        probabilities = estimator.predict_proba_one(features)
        return float(probabilities.get(True, 0.0)) if probabilities else UNDECIDED

    def answer(self, score: float, truth: bool, label: bool) -> Any:
        # River's classifiers answer False where both are as likely
        return score > 0.5 if label else {False: 1.0 - score, True: score}

    def loss(self, score: float, truth: bool) -> float:
        return log_loss(score if truth else 1.0 - score)

    def losses(self, score: float, truth: bool) -> tuple[float, ...]:
        return float((score > 0.5) != truth), (score - truth) * (score - truth)

    def error_measure(self) -> ErrorMeasure:
        return _SquaredError()

    def baseline(self) -> Baseline:
        return ShareBaseline()

    def metrics(self) -> Any:
        """ROC AUC, on 20 thresholds, and log loss."""
        return metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss()


class Multiclass(Task):
    """Which class? Log loss; the detectors get half the Brier score, for two classes the squared error.

    Before the first label a classifier knows no class and gives no answer, which no metric judges. A class
    that the answer leaves out has the probability 0. River's CrossEntropy (0.26) looks for the true class
    among those of the answer, so one that is left out costs nothing there; metrics are given it with 0.
    """

    name: TaskName = "multiclass"
    target: type[Field] = Text
    _needs = "a classifier of more than two classes"

    def fits(self, estimator: Any) -> bool:
        return _is_classifier(estimator) and getattr(estimator, "_multiclass", True)

    def check(self, estimator: Any) -> None:
        super().check(estimator)
        _check_probabilities(estimator)

    def score(self, estimator: Any, features: Features) -> dict[str, float]:
        score = {name: float(p) for name, p in estimator.predict_proba_one(features).items()}
        for name in score:
            if type(name) is not str:
                raise TypeError(f"the classifier gives a class {name!r}, which is no text")
        return score

    def serves(self, score: Score) -> bool:
        return isinstance(score, Mapping)

    def said(self, score: Mapping[str, float]) -> str:
        return _likeliest(score) if score else ""

    def answer(self, score: Mapping[str, float], truth: str, label: bool) -> Any:
        if not score:
            return None
        if label:
            return _likeliest(score)
        return score if truth in score else {**score, truth: 0.0}

    def loss(self, score: Mapping[str, float], truth: str) -> float:
        return log_loss(score.get(truth, 0.0))

    def error_measure(self) -> ErrorMeasure:
        return _BrierScore()

    def baseline(self) -> Baseline:
        return ClassBaseline()

    def metrics(self) -> Any:
        """Accuracy, the mean of the classes' F1 scores, and cross-entropy."""
        return metrics.Accuracy() + metrics.MacroF1() + metrics.CrossEntropy()


class Regression(Task):
    """How much? Squared error; the detectors get the absolute error on a scale of its own running median."""

    name: TaskName = "regression"
    target: type[Field] = Number
    losses_named = ("absolute_error", "squared_error")
    _needs = "a regressor"

    def fits(self, estimator: Any) -> bool:
        if isinstance(estimator, base.Base):
            return isinstance(estimator, base.Regressor)
        return hasattr(estimator, "predict_one") and not hasattr(estimator, "predict_proba_one")

    def score(self, estimator: Any, features: Features) -> float:
        return float(estimator.predict_one(features) or 0.0)

    def answer(self, score: float, truth: float, label: bool) -> float:
        return score

    def loss(self, score: float, truth: float) -> float:
        return (score - truth) * (score - truth)

    def losses(self, score: float, truth: float) -> tuple[float, ...]:
        return abs(score - truth), (score - truth) * (score - truth)

    def error_measure(self) -> ErrorMeasure:
        return _ScaledError()

    def baseline(self) -> Baseline:
        return MeanBaseline()

    def metrics(self) -> Any:
        """Mean absolute error, and the root of the mean squared error."""
        return metrics.MAE() + metrics.RMSE()


class Anomaly(Task):
    """Is it strange? A detector in a filter of River, which says from which score on an event is an anomaly.

    It learns each event as it was served. Labels, if any come, judge the flag: the loss of a wrong one is 1.
    """

    name: TaskName = "anomaly"
    target: type[Field] = Flag
    learns_from_labels = False
    _needs = (
        "an anomaly detector in a filter, such as anomaly.QuantileFilter(anomaly.HalfSpaceTrees(), q=0.99)"
    )

    def fits(self, estimator: Any) -> bool:
        if isinstance(estimator, base.Base):
            return isinstance(estimator, base.AnomalyFilter) and not estimator._supervised
        return hasattr(estimator, "score_one") and hasattr(estimator, "classify")

    def score(self, estimator: Any, features: Features) -> dict[str, float]:
        score = float(estimator.score_one(features))
        return {"score": score, "anomaly": float(_filter(estimator).classify(score))}

    def serves(self, score: Score) -> bool:
        return isinstance(score, Mapping) and score.keys() == {"score", "anomaly"}

    def said(self, score: Mapping[str, float]) -> float:
        return score["score"]

    def learn(self, estimator: Any, features: Features, truth: Any) -> None:
        score = estimator.score_one(features)
        if not isfinite(score):  # River's quantile would panic, and no `except Exception` holds that
            raise ArithmeticError(f"the detector gives {score}")
        estimator.learn_one(features)

    def answer(self, score: Mapping[str, float], truth: bool, label: bool) -> bool | float:
        return _is_anomaly(score) if label else score["score"]

    def loss(self, score: Mapping[str, float], truth: bool) -> float:
        return float(_is_anomaly(score) != truth)

    def error_measure(self) -> ErrorMeasure:
        return _FlagError()

    def baseline(self) -> Baseline:
        return FlagBaseline()

    def metrics(self) -> Any:
        """Precision, recall and F1 of the flags."""
        return metrics.Precision() + metrics.Recall() + metrics.F1()


BINARY = Binary()
TASKS: dict[str, Task] = {task.name: task for task in (BINARY, Multiclass(), Regression(), Anomaly())}


def task_of(name: str) -> Task:
    """The task of that name; raises `ConfigError` where there is none."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; declare one of {', '.join(TASKS)}")
    return TASKS[name]


class _SquaredError:
    def __call__(self, score: float, truth: bool) -> tuple[float, bool]:
        return (score - truth) ** 2, (score > 0.5) != truth


class _BrierScore:
    def __call__(self, score: Mapping[str, float], truth: str) -> tuple[float, bool]:
        others = sum(p * p for name, p in score.items() if name != truth)
        missing = 1.0 - score.get(truth, 0.0)
        return (others + missing * missing) / 2, not score or _likeliest(score) != truth


class _ScaledError:
    """e / (e + m) for an error e, m the median of those before: .5 for an error as large as usual.

    Detectors such as ADWIN are made for numbers from 0 to 1, and a rise must count the same in metres and in
    millimetres. Wrong is an error above the median. The median is estimated in constant memory by the P2
    algorithm (Jain and Chlamtac, 1985).
    """

    def __init__(self) -> None:
        self._median = stats.Quantile(0.5)

    def __call__(self, score: float, truth: float) -> tuple[float, bool]:
        error = abs(score - truth)
        usual = self._median.get()
        self._median.update(error)
        if usual is None:
            return 0.5, False
        return (error / (error + usual) if error else 0.0), error > usual


class _FlagError:
    def __call__(self, score: Mapping[str, float], truth: bool) -> tuple[float, bool]:
        wrong = _is_anomaly(score) != truth
        return float(wrong), wrong


def _is_anomaly(score: Mapping[str, float]) -> bool:
    return score["anomaly"] > 0.5


def _likeliest(score: Mapping[str, float]) -> str:
    return max(score, key=score.__getitem__)


def _is_classifier(estimator: Any) -> bool:
    if isinstance(estimator, base.Base):
        return isinstance(estimator, base.Classifier)
    return hasattr(estimator, "predict_proba_one")


def _last_step(estimator: Any) -> Any:
    """The estimator itself, or the last one of a pipeline of River."""
    return _last_step(list(estimator.steps.values())[-1]) if hasattr(estimator, "steps") else estimator


def _filter(estimator: Any) -> Any:
    """The filter that a pipeline of River ends with; the pipeline itself does not `classify`."""
    return estimator if hasattr(estimator, "classify") else _last_step(estimator)


def _check_probabilities(estimator: Any) -> None:
    last = type(_last_step(estimator))
    if getattr(last, "predict_proba_one", None) is base.Classifier.predict_proba_one:
        raise ConfigError(
            f"{last.__name__} gives no probabilities, which the engine serves; declare a classifier that has "
            "predict_proba_one, such as multiclass.OneVsRestClassifier"
        )


def _named(estimator: Any) -> str:
    return type(_last_step(estimator)).__name__


def _hint(estimator: Any) -> str:
    fitting = [name for name, task in TASKS.items() if task.fits(estimator)]
    return f"; it fits task={fitting[0]!r}" if fitting else "; declare another model or another task"
