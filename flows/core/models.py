"""A River estimator in service: its version, its role and what may be asked of it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Literal, NamedTuple

Role = Literal["champion", "challenger", "retired"]
Features = Mapping[str, Any]

UNDECIDED = 0.5  # the score of a classifier that has seen no label


class Prediction(NamedTuple):
    """What was served: the score of the champion, those of its shadows, and the features they saw.

    `time` is the event's (ms). `features` are in the order of the pipeline's feature names. `shadows` maps
    the version of a challenger to its score.
    """

    id: str
    time: int
    score: float
    version: str
    shadows: Mapping[str, float]
    features: Sequence[Any]


class Model:
    """A binary classifier of River, and how many labels it has learned."""

    def __init__(self, version: str, estimator: Any, learned: int = 0) -> None:
        self.version = version
        self.estimator = estimator
        self.learned = learned

    def score(self, features: Features) -> float:
        """The probability that the target is true; raises `ArithmeticError` if that is no finite number."""
        probabilities = self.estimator.predict_proba_one(features)
        score = float(probabilities.get(True, 0.0)) if probabilities else UNDECIDED
        if not isfinite(score):
            raise ArithmeticError(f"model {self.version} gives {score}")
        return score

    def learn(self, features: Features, truth: bool) -> str | None:
        """Learn one label; what went wrong if the estimator cannot."""
        try:
            self.estimator.learn_one(features, truth)
        except Exception as error:  # an estimator is the user's code: one label must not stop the flow
            return f"{type(error).__name__}: {error}"
        self.learned += 1
        return None


def first_model(estimator: Any) -> Model:
    """The model of a pipeline that has seen no label; predictor and learner begin with the same one."""
    return Model("v1", estimator)


class ModelMessage(NamedTuple):
    """A model on its way over the models topic.

    `lineage` says where it comes from: the feature plan, the drift signal it answers, the labels it was
    trained on. `time` is the event time (ms) of the last label it learned.
    """

    pipeline: str
    role: Role
    time: int
    model: Model
    lineage: Mapping[str, Any]


class Lineup:
    """The models that score an event: the champion, whose score is served, and its shadows."""

    def __init__(self, champion: Model) -> None:
        self.champion = champion
        self.challengers: dict[str, Model] = {}

    def apply(self, role: Role, model: Model) -> None:
        """Take in what the models topic says; saying it twice changes nothing."""
        self.challengers.pop(model.version, None)
        if role == "champion":
            self.champion = model
        elif role == "challenger" and model.version != self.champion.version:
            self.challengers[model.version] = model

    def shadow_scores(self, features: Features) -> dict[str, float]:
        """The challengers' scores, by version; one that cannot score stays out and keeps nobody waiting."""
        scores: dict[str, float] = {}
        for version, model in self.challengers.items():
            with suppress(Exception):  # an estimator is the user's code
                scores[version] = model.score(features)
        return scores
