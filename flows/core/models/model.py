"""A River estimator in service: its version, its role and what may be asked of it."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Literal, NamedTuple

from flows.core.models.baselines import Score
from flows.core.models.tasks import BINARY, Features, Task, Truth

Role = Literal["champion", "challenger", "retired", "candidate"]  # a candidate is the learner's to take

_LARGEST = 1e150  # of a score, so that its square is finite too


class Prediction(NamedTuple):
    """What was served: the score of the champion, those of its shadows, and the features they saw.

    `time` is the event's (ms). `features` are in the order of the pipeline's feature names. `shadows` maps
    the version of a challenger to its score. What a score is, the task says (`flows.core.models.tasks`).
    """

    id: str
    time: int
    score: Score
    version: str
    shadows: Mapping[str, Score]
    features: Sequence[Any]


class Model:
    """An estimator of River, its task, and how many events it has learned."""

    def __init__(self, version: str, estimator: Any, learned: int = 0, task: Task = BINARY) -> None:
        self.version = version
        self.estimator = estimator
        self.learned = learned
        self.task = task

    def score(self, features: Features) -> Score:
        """What the model answers, by its task.

        Raises `ArithmeticError` if a feature or the answer is not finite, or the answer is beyond 1e150.
        """
        _check_finite(features)
        score = self.task.score(self.estimator, features)
        for number in score.values() if isinstance(score, Mapping) else (score,):
            if not -_LARGEST <= number <= _LARGEST:  # which is so for NaN too
                raise ArithmeticError(f"model {self.version} gives {number}")
        return score

    def learn(self, features: Features, truth: Truth | None) -> Exception | None:
        """Learn one event, with its truth if the task learns from labels; the error if it cannot."""
        try:
            _check_finite(features)
            self.task.learn(self.estimator, features, truth)
        except Exception as error:  # an estimator is the user's code: one label must not stop the flow
            return error
        self.learned += 1
        return None


def _check_finite(features: Features) -> None:
    """One NaN or infinity would stay in a scaler for ever; raises `ArithmeticError`."""
    for name, value in features.items():
        if type(value) is float and not -inf < value < inf:
            raise ArithmeticError(f"feature {name!r} is {value}")


def first_model(estimator: Any, task: Task = BINARY) -> Model:
    """The model of a pipeline that has seen no label; predictor and learner begin with the same one."""
    return Model("v1", estimator, task=task)


class ModelMessage(NamedTuple):
    """A model on its way over the models topic.

    `lineage` says where it comes from: the feature plan, the drift signal it answers, the labels it was
    trained on. `time` is the event time (ms) of the last label it learned. `sequence` grows with every
    message that the learner publishes; that of a candidate is the sequence of the drift signal it answers.
    """

    pipeline: str
    role: Role
    time: int
    model: Model
    lineage: Mapping[str, Any]
    sequence: int


class Lineup:
    """The models that score an event: the champion, whose score is served, and its shadows.

    `sequence` and `digest` are those of the last message applied.
    """

    def __init__(self, champion: Model) -> None:
        self.champion = champion
        self.challengers: dict[str, Model] = {}
        self.sequence = 0
        self.digest = b""

    def advance(self, sequence: int, digest: bytes) -> None:
        """Note the last message applied."""
        self.sequence, self.digest = sequence, digest

    def retire(self, version: str) -> None:
        """Stop scoring with a challenger, if it is one."""
        self.challengers.pop(version, None)

    def apply(self, role: Role, model: Model) -> None:
        """Take in what the models topic says; saying it twice changes nothing."""
        self.retire(model.version)
        if role == "champion":
            self.champion = model
        elif role == "challenger" and model.version != self.champion.version:
            self.challengers[model.version] = model

    def shadow_scores(self, features: Features, failed: Callable[[Exception], object]) -> dict[str, Score]:
        """The challengers' scores, by version; one that cannot score is left out and goes to `failed`."""
        scores: dict[str, Score] = {}
        for version, model in self.challengers.items():
            try:
                scores[version] = model.score(features)
            except Exception as error:  # an estimator is the user's code
                failed(error)
        return scores
