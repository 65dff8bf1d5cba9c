"""What the engine promises of any model of River, run over models of all four tasks.

River's own edges: NaN or an infinity stays in a scaler for ever, None and strings raise, a cold classifier
answers {}, and a quantile filter that met a NaN panics past every `except Exception`.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf, isfinite, nan
from typing import Any, NamedTuple

import pytest
from river import (
    anomaly,
    compose,
    drift,
    dummy,
    ensemble,
    forest,
    linear_model,
    multiclass,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    rules,
    tree,
)

from flows.core.evaluation.evaluation import Evaluation
from flows.core.models.model import Model, ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import TASKS

ROWS = 150


class Contender(NamedTuple):
    """A model in a sensible pipeline, and its task."""

    task: str
    make: Callable[[], Any]


def scaled(model: Any) -> Any:
    return preprocessing.StandardScaler() | model


def mixed(model: Any) -> Any:
    """Numbers scaled and texts one-hot, as River does both at once."""
    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    return numbers + (compose.SelectType(str) | preprocessing.OneHotEncoder()) | model


def flagged(detector: Any, scaler: Any = preprocessing.StandardScaler) -> Any:
    return scaler() | anomaly.QuantileFilter(detector, q=0.9)


def hoeffding() -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=20)


CONTENDERS = {
    "LogisticRegression": Contender("binary", lambda: scaled(linear_model.LogisticRegression())),
    "ALMA": Contender("binary", lambda: scaled(linear_model.ALMAClassifier())),
    "PassiveAggressive": Contender("binary", lambda: scaled(linear_model.PAClassifier())),
    "HoeffdingTree": Contender("binary", hoeffding),
    "HoeffdingAdaptiveTree": Contender("binary", lambda: tree.HoeffdingAdaptiveTreeClassifier(20, seed=1)),
    "AdaptiveRandomForest": Contender("binary", lambda: forest.ARFClassifier(n_models=3, seed=1)),
    "AMF": Contender("binary", lambda: forest.AMFClassifier(n_estimators=3, seed=1)),
    "StreamingRandomPatches": Contender(
        "binary", lambda: ensemble.SRPClassifier(hoeffding(), n_models=3, seed=1)
    ),
    "Bagging": Contender(
        "binary", lambda: scaled(ensemble.BaggingClassifier(linear_model.LogisticRegression(), 3, seed=1))
    ),
    "ADWINBoosting": Contender("binary", lambda: ensemble.ADWINBoostingClassifier(hoeffding(), 3, seed=1)),
    "Prior": Contender("binary", dummy.PriorClassifier),
    "DriftRetraining": Contender(
        "binary", lambda: drift.DriftRetrainingClassifier(hoeffding(), drift.binary.DDM())
    ),
    "SoftmaxRegression": Contender("multiclass", lambda: scaled(linear_model.SoftmaxRegression())),
    "GaussianNB": Contender("multiclass", naive_bayes.GaussianNB),
    "KNN": Contender("multiclass", lambda: scaled(neighbors.KNNClassifier(3))),
    "OneVsRest": Contender(
        "multiclass", lambda: scaled(multiclass.OneVsRestClassifier(linear_model.LogisticRegression()))
    ),
    "HoeffdingTree of classes": Contender("multiclass", hoeffding),
    "AdaptiveRandomForest of classes": Contender("multiclass", lambda: forest.ARFClassifier(3, seed=1)),
    "mixed features": Contender("multiclass", lambda: mixed(linear_model.SoftmaxRegression())),
    "LinearRegression": Contender(
        "regression", lambda: scaled(linear_model.LinearRegression(optim.SGD(0.01)))
    ),
    "KNNRegressor": Contender("regression", lambda: scaled(neighbors.KNNRegressor(3))),
    "HoeffdingTreeRegressor": Contender("regression", lambda: tree.HoeffdingTreeRegressor(20)),
    "AMFRegressor": Contender("regression", lambda: forest.AMFRegressor(n_estimators=3, seed=1)),
    "ARFRegressor": Contender("regression", lambda: forest.ARFRegressor(n_models=3, seed=1)),
    "AMRules": Contender("regression", lambda: rules.AMRules(n_min=20)),
    "TargetStandardScaler": Contender(
        "regression", lambda: scaled(preprocessing.TargetStandardScaler(linear_model.LinearRegression()))
    ),
    "HalfSpaceTrees": Contender(
        "anomaly",
        lambda: flagged(anomaly.HalfSpaceTrees(3, window_size=20, seed=1), scaler=preprocessing.MinMaxScaler),
    ),
    "OneClassSVM": Contender("anomaly", lambda: flagged(anomaly.OneClassSVM(nu=0.2))),
    "LocalOutlierFactor": Contender("anomaly", lambda: flagged(anomaly.LocalOutlierFactor(5))),
    "LODA": Contender("anomaly", lambda: flagged(anomaly.LODA(seed=1))),
}

TRUTHS: dict[str, Callable[[float, float], Any]] = {
    "binary": lambda a, b: a + b > 1,
    "multiclass": lambda a, b: "low" if a + b < 0.5 else "middle" if a + b < 1.5 else "high",
    "regression": lambda a, b: 3.0 * a - b,
    "anomaly": lambda a, b: max(a, b) > 0.97,
}


@pytest.fixture(params=CONTENDERS)
def contender(request: pytest.FixtureRequest) -> Contender:
    return CONTENDERS[request.param]


def fresh(contender: Contender) -> Model:
    estimator = contender.make()
    task = TASKS[contender.task]
    task.check(estimator)
    return Model("v1", estimator, task=task)


def rows(task: str, count: int = ROWS, seed: int = 1) -> Iterator[tuple[dict[str, Any], Any]]:
    rng = random.Random(seed)
    for _ in range(count):
        a, b = rng.random(), rng.random()
        yield {"a": a, "b": b}, TRUTHS[task](a, b)


def taught(contender: Contender) -> Model:
    model = fresh(contender)
    for features, truth in rows(contender.task):
        model.score(features)
        assert model.learn(features, truth) is None
    return model


def scores(model: Model) -> list[Any]:
    return [model.score(features) for features, _ in rows(model.task.name, 20, seed=2)]


def is_served(model: Model, score: Any) -> bool:
    numbers = score.values() if isinstance(score, dict) else [score]
    return model.task.serves(score) and all(type(n) is float and isfinite(n) for n in numbers)


def test_a_model_that_has_learned_nothing_answers_and_its_answer_can_be_judged(contender):
    model = fresh(contender)
    features, truth = next(rows(contender.task))
    score = model.score(features)
    assert is_served(model, score)
    assert model.task.loss(score, truth) >= 0
    error, wrong = model.task.error_measure()(score, truth)
    assert 0 <= error <= 1
    assert wrong in (False, True)


def test_it_learns_every_event_and_answers_every_question_with_finite_numbers(contender):
    model = taught(contender)
    assert model.learned == ROWS
    assert all(is_served(model, score) for score in scores(model))


@pytest.mark.parametrize("value", [nan, inf, -inf], ids=str)
def test_a_feature_that_is_no_finite_number_is_refused_and_leaves_no_trace(contender, value):
    model, untouched = taught(contender), taught(contender)
    with pytest.raises(ArithmeticError, match="feature 'b'"):
        model.score({"a": 0.5, "b": value})
    assert "feature 'b'" in str(model.learn({"a": 0.5, "b": value}, next(rows(contender.task))[1]))
    assert model.learned == ROWS
    assert scores(model) == scores(untouched)


@pytest.mark.parametrize("value", [None, "a string"], ids=str)
def test_none_and_strings_among_numbers_end_in_an_error_or_an_answer_and_the_model_goes_on(contender, value):
    """Which of the two is the model's affair: trees take strings as categories, scalers raise."""
    model = taught(contender)
    odd = {"a": 0.5, "b": value}
    answers = []
    with suppress(Exception):  # what the predictor catches
        answers.append(model.score(odd))
    assert all(is_served(model, answer) for answer in answers)
    before = model.learned
    fault = model.learn(odd, next(rows(contender.task))[1])
    assert model.learned == before + (fault is None)
    assert all(is_served(model, score) for score in scores(model))


def test_a_snapshot_gives_the_same_scores_and_learns_on_alike(contender):
    model = taught(contender)
    sealer = Sealer(b"s" * 32, [fresh(contender).estimator])
    message = ModelMessage("p", "champion", 1_357_035_300_000, model, {}, 1)
    back = sealer.open(*sealer.seal(message)).model
    assert (back.task.name, back.learned) == (contender.task, ROWS)
    assert scores(back) == scores(model)
    for features, truth in rows(contender.task, 60, seed=3):
        assert (back.learn(features, truth), model.learn(features, truth)) == (None, None)
    assert scores(back) == scores(model)


@pytest.mark.parametrize("name", [n for n, each in CONTENDERS.items() if each.task == "multiclass"])
def test_a_class_first_seen_after_the_answer_is_judged_learned_and_then_answered(name):
    model, evaluation = taught(CONTENDERS[name]), Evaluation(TASKS["multiclass"].metrics, TASKS["multiclass"])
    features = {"a": 5.0, "b": 5.0}
    score = model.score(features)
    assert "new" not in score
    assert 34 < model.task.loss(score, "new") < 35  # of the least probability, 1e-15
    assert model.task.error_measure()(score, "new")[1]
    for _ in range(60):
        assert model.learn(features, "new") is None
    assert model.score(features)["new"] > 0
    assert evaluation.labels == 0
