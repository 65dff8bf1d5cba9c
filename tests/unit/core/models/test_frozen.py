"""Frozen models: a batch is scored as each of its events would be."""

from math import nan
from typing import Any

import pytest
from river import linear_model, preprocessing, tree

from flows.core.models import frozen
from flows.core.models.frozen import COMPILE_FROM, FrozenLineup, FrozenModel
from flows.core.models.model import Lineup, Model

NAMES = ("a", "b")
ROWS = [(float(number % 5), number / 3) for number in range(2 * COMPILE_FROM)]


def trained(estimator: Any, version: str = "v1") -> Model:
    model = Model(version, estimator)
    for a, b in ROWS:
        model.learn({"a": a, "b": b}, a > b)
    return model


def linear(version: str = "v1") -> Model:
    return trained(preprocessing.StandardScaler() | linear_model.LogisticRegression(), version)


def scaled_tree() -> Model:
    return trained(preprocessing.StandardScaler() | tree.HoeffdingTreeClassifier(grace_period=3))


@pytest.mark.parametrize(
    "model", [linear(), trained(tree.HoeffdingTreeClassifier(grace_period=3)), scaled_tree()]
)
@pytest.mark.parametrize("count", [0, 1, COMPILE_FROM - 1, COMPILE_FROM, len(ROWS)])
def test_a_batch_of_any_size_has_the_scores_of_its_events(model, count):
    scores = [model.score({"a": a, "b": b}) for a, b in ROWS[:count]]
    assert FrozenModel(model, NAMES).score(ROWS[:count]) == scores


@pytest.mark.parametrize("model", [linear(), scaled_tree()])
@pytest.mark.parametrize("bad", [nan, None, "text"])
def test_an_event_that_cannot_be_scored_has_its_error_and_the_others_their_scores(bad, model):
    good = FrozenModel(model, NAMES).score(ROWS)
    scores = FrozenModel(model, NAMES).score([*ROWS, (bad, 1.0)])
    assert scores[:-1] == good
    assert isinstance(scores[-1], ArithmeticError if bad is nan else TypeError)


class Lenient:
    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        return {True: 0.25 if features["a"] is None else 0.75}


@pytest.mark.parametrize("other", ["text", 10**400, True])
def test_a_null_or_text_that_the_model_can_score_is_scored(other):
    assert FrozenModel(Model("v1", Lenient()), NAMES).score([(None, 1.0), (other, 2.0)]) == [0.25, 0.75]


def test_a_linear_model_is_compiled_once_and_for_larger_batches_only(monkeypatch):
    compiled: list[Model] = []
    compile_it = frozen.compiled
    monkeypatch.setattr(
        frozen, "compiled", lambda model, names: compiled.append(model) or compile_it(model, names)
    )
    model = linear()
    scoring = FrozenModel(model, NAMES)
    scoring.score(ROWS[: COMPILE_FROM - 1])
    assert compiled == []
    for _ in range(3):
        scoring.score(ROWS)
    assert compiled == [model]


class Broken:
    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        raise ValueError("it is broken")


def test_the_challengers_score_by_version_and_one_that_fails_is_left_out():
    lineup = Lineup(linear())
    lineup.apply("challenger", linear("v2"))
    lineup.apply("challenger", Model("v3", Broken()))
    failures: list[Exception] = []
    models = FrozenLineup(lineup, NAMES)
    shadows = models.shadow_scores(ROWS, failures.append)
    assert shadows == [{"v2": score} for score in models.score(ROWS)]
    assert [str(error) for error in failures] == ["it is broken"] * len(ROWS)
    assert models.version == "v1"
