"""The interface of a task, and what it reads from an estimator."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from flows.core.models.baselines import Baseline, Score
from flows.core.stream.fields import Field
from flows.errors import ConfigError

TaskName = Literal["binary", "multiclass", "regression", "anomaly"]
Truth = bool | str | float
Features = Mapping[str, Any]


class ErrorMeasure(Protocol):
    """Computes the error of a served score for drift detectors."""

    def __call__(self, score: Any, truth: Any) -> tuple[float, bool]:
        """Return the error, from 0 to 1, and whether the predicted label was wrong."""


class Task(ABC):
    """The operations of a task. A task has no state."""

    name: TaskName
    target: type[Field]  # the type of the label field that holds the truth
    learns_from_labels = True  # False: the model learns each event when it is served
    loss_names: tuple[str, ...] = ("error_rate",)
    required: str  # the kind of estimator, for error messages

    @abstractmethod
    def fits(self, estimator: Any) -> bool:
        """Return whether the estimator is of the kind that the task requires."""

    def check(self, estimator: Any) -> None:
        """Raise `ConfigError` unless the estimator supports everything that the task calls."""
        if not self.fits(estimator):
            found = _class_name(estimator)
            raise ConfigError(f"task {self.name!r} needs {self.required}, got {found}; {_advice(estimator)}")

    @abstractmethod
    def score(self, estimator: Any, features: Features) -> Score:
        """Return the estimator's score for these features."""

    def serves(self, score: Score) -> bool:
        """Return whether a score that was read from a message has the form of this task."""
        return not isinstance(score, dict)  # what JSON holds; a test for `Mapping` takes four times as long

    def monitored_value(self, score: Any) -> float | str:
        """Return the number or class of a score whose distribution is watched for prediction drift."""
        number: float = score
        return number

    def learn(self, estimator: Any, features: Features, truth: Any) -> None:
        """Train the estimator on one event."""
        estimator.learn_one(features, truth)

    @abstractmethod
    def predicted_label(self, score: Any) -> Any:
        """Return the label that a score predicts; None if the model gave no answer."""

    @abstractmethod
    def metric_input(self, score: Any, truth: Any) -> Any:
        """Return the `y_pred` for River's metrics over scores; None to skip the event."""

    def numbers(self, scores: Sequence[Any]) -> Sequence[float] | None:
        """Return these scores as single numbers, which metrics also take; None if they have several."""
        return scores

    @abstractmethod
    def loss(self, score: Any, truth: Any) -> float:
        """Return the loss by which a challenger is compared with the champion."""

    def losses(self, scores: Sequence[Any], truths: Sequence[Any]) -> tuple[Sequence[float], ...]:
        """Return the published losses of these scores for each of `loss_names`; no answer counts as wrong."""
        labels = map(self.predicted_label, scores)
        return ([float(label != truth) for label, truth in zip(labels, truths, strict=True)],)

    @abstractmethod
    def error_measure(self) -> ErrorMeasure:
        """Return a new error measure for drift detectors."""

    @abstractmethod
    def baseline(self) -> Baseline:
        """Return new baselines."""

    @abstractmethod
    def metrics(self) -> Any:
        """Return new River metrics, for pipelines that declare none."""


def last_step(estimator: Any) -> Any:
    """Return the last step of a River pipeline, or the estimator itself."""
    return last_step(list(estimator.steps.values())[-1]) if hasattr(estimator, "steps") else estimator


def _class_name(estimator: Any) -> str:
    return type(last_step(estimator)).__name__


def _advice(estimator: Any) -> str:
    # The subclasses, not `TASKS`: that table is built from this module.
    fitting = [kind.name for kind in Task.__subclasses__() if kind().fits(estimator)]
    return f"it fits task={fitting[0]!r}" if fitting else "declare another model or another task"
