"""Models in service: River estimators with a version, a task and a role."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import inf, isfinite
from typing import Any, Literal, NamedTuple

from flows.core.models.baselines import Score
from flows.core.models.tasks import BINARY, Features, Task, Truth

# the learner makes a candidate its challenger
Role = Literal["champion", "challenger", "retired", "candidate"]

LARGEST = 1e150  # of a score, so that its square is finite too


class Prediction(NamedTuple):
    """A served prediction: the champion's score, the challengers' scores, and the features they read.

    `time` is the event time (ms). `features` are in the order of the pipeline's feature names. `shadows` maps
    the version of each challenger to its score. The type of a score depends on the task.
    """

    id: str
    time: int
    score: Score
    version: str
    shadows: Mapping[str, Score]
    features: Sequence[Any]


class Model:
    """A River estimator, its task, and the number of events that it has learned."""

    def __init__(self, version: str, estimator: Any, learned: int = 0, task: Task = BINARY) -> None:
        self.version = version
        self.estimator = estimator
        self.learned = learned
        self.task = task

    def score(self, features: Features) -> Score:
        """Return the score, of the task's type.

        Raises `ArithmeticError` if a feature or the score is not finite, or the score exceeds 1e150.
        """
        _check_finite(features)
        return self.score_finite(features)

    def score_finite(self, features: Features) -> Score:
        """Return the score for features that are known to be finite; raises as `score` does."""
        score = self.task.score(self.estimator, features)
        for number in (score,) if isinstance(score, float) else score.values():
            if not -LARGEST <= number <= LARGEST:  # also true for NaN
                raise ArithmeticError(f"model {self.version} gives {number}")
        return score

    def learn(self, features: Features, truth: Truth | None) -> Exception | None:
        """Learn one event, with its truth if the task learns from labels; return the error if that fails."""
        try:
            _check_finite(features)
            self.task.learn(self.estimator, features, truth)
        except Exception as error:  # an estimator is user code, and one label must not stop the flow
            return error
        self.learned += 1
        return None


def _check_finite(features: Features) -> None:
    """Raise `ArithmeticError` for a NaN or an infinity, which would stay in a scaler for ever."""
    try:
        if isfinite(sum(features.values())):  # so is each of them; this is the usual case, and fast
            return
    except (TypeError, OverflowError):
        pass  # texts, nulls or large numbers
    for name, value in features.items():
        if type(value) is float and not -inf < value < inf:
            raise ArithmeticError(f"feature {name!r} is {value}")


class ModelMessage(NamedTuple):
    """A model and its role, as published on the models topic.

    `lineage` has the model's origin: the feature plan, the trigger it answers, the labels it was trained
    on. `time` is the event time (ms) of the last label it learned. `sequence` increases with every message of
    the learner; that of a candidate is the event time (ms) of the trigger it answers. `share` is the share of
    entities that a challenger is served to.
    """

    pipeline: str
    role: Role
    time: int
    model: Model
    lineage: Mapping[str, Any]
    sequence: int
    share: float = 0.0


class Canary(NamedTuple):
    """A challenger whose score is served to a share of the entities, before it is served to all."""

    version: str
    share: float

    def serves(self, key: str | int | None) -> bool:
        """Return whether the entity with this key gets the challenger's score; always the same for a key.

        >>> canary = Canary("v2", 0.25)
        >>> sum(canary.serves(key) for key in range(1000))
        253
        >>> canary.serves(None)
        False
        """
        if key is None:
            return False
        digest = blake2b(f"{self.version}:{key}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") < self.share * 2**32


class Lineup:
    """The models that score an event: the champion, whose score is served, and its shadows.

    A `canary` is one of the challengers. `sequence` and `digest` are those of the last message applied.
    """

    def __init__(self, champion: Model) -> None:
        self.champion = champion
        self.challengers: dict[str, Model] = {}
        self.canary: Canary | None = None
        self.sequence = 0
        self.digest = b""

    def advance(self, sequence: int, digest: bytes) -> None:
        """Set the last message applied."""
        self.sequence, self.digest = sequence, digest

    def retire(self, version: str) -> None:
        """Stop scoring with the challenger of this version, if there is one."""
        self.challengers.pop(version, None)
        if self.canary is not None and self.canary.version == version:
            self.canary = None

    def apply(self, role: Role, model: Model, share: float = 0.0) -> None:
        """Give a model its role, and a challenger its share; repeating a message changes nothing."""
        self.retire(model.version)
        if role == "champion":
            self.champion, self.canary = model, None
        elif role == "challenger" and model.version != self.champion.version:
            self.challengers[model.version] = model
            if share:
                self.canary = Canary(model.version, share)

    def shadow_scores(self, features: Features, failed: Callable[[Exception], object]) -> dict[str, Score]:
        """Return the challengers' scores by version.

        A challenger that fails to score is left out, and its error is passed to `failed`.
        """
        scores: dict[str, Score] = {}
        for version, model in self.challengers.items():
            try:
                scores[version] = model.score(features)
            except Exception as error:  # an estimator is user code
                failed(error)
        return scores
