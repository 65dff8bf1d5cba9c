"""The importance of inputs is the mean size of the contributions that the exact methods give row by row."""

from random import Random
from typing import Any

import pytest
from river import compose, forest, linear_model, neighbors, preprocessing, tree

from flows.core.explaining.importance import importance
from flows.core.explaining.linear import linear_attribution
from flows.core.explaining.output import explained_output
from flows.core.explaining.trees import tree_attribution
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS, Features

NAMES = ("a", "b", "c", "d")


def rows(count: int, seed: int) -> list[dict[str, float]]:
    random = Random(seed)
    return [{name: random.gauss(0, 1) for name in NAMES} for _ in range(count)]


def trained(estimator: Any, task: str, count: int = 2500) -> Model:
    model = Model("v1", estimator, task=TASKS[task])
    for row in rows(count, seed=1):
        total = 2 * row["a"] + row["b"] * (row["c"] > 0)
        truths = {"binary": total > 0.5, "multiclass": str(round(total)), "regression": total}
        assert model.learn(row, truths[task]) is None
    return model


SAMPLE = rows(30, seed=2)
QUICK: dict[str, Any] = {"grace_period": 50, "tau": 0.2}
LINEAR = {
    "binary": preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "regression": linear_model.LinearRegression(),
}
TREES: list[tuple[str, Any]] = [
    ("binary", tree.HoeffdingTreeClassifier(leaf_prediction="mc", **QUICK)),
    (
        "multiclass",
        preprocessing.MinMaxScaler() | tree.HoeffdingTreeClassifier(leaf_prediction="mc", **QUICK),
    ),
    ("regression", tree.HoeffdingTreeRegressor(leaf_prediction="mean", **QUICK)),
    ("binary", forest.ARFClassifier(3, seed=1, leaf_prediction="mc")),
]


@pytest.mark.parametrize("task", LINEAR)
def test_in_a_linear_model_it_is_that_of_the_rows_against_one_another(task):
    model = trained(LINEAR[task], task)
    found = importance(model, SAMPLE)
    each = [linear_attribution(model.estimator, row, SAMPLE).contributions for row in SAMPLE]
    expected = {name: sum(abs(one[name]) for one in each) / len(each) for name in NAMES}
    assert found.inputs == pytest.approx(expected, rel=1e-9)
    assert found.leaves == 0
    assert max(expected, key=expected.get) == "a"


@pytest.mark.parametrize(("task", "estimator"), TREES)
def test_in_trees_it_is_that_of_each_row(task, estimator):
    model = trained(estimator, task)
    found = importance(model, SAMPLE)
    each = [
        tree_attribution(model.estimator, row, explained_output(model, row).label).contributions
        for row in SAMPLE
    ]
    expected = {name: sum(abs(one[name]) for one in each) / len(each) for name in NAMES}
    assert found.inputs == pytest.approx(expected, rel=1e-9)
    assert found.leaves > 2
    assert max(expected, key=expected.get) == "a"


def doubled(x: Features) -> Features:
    return {f"twice_{name}": 2 * value for name, value in x.items() if name != "d"}


def test_behind_a_function_the_inputs_are_its_outputs():
    model = trained(doubled | preprocessing.StandardScaler() | linear_model.LogisticRegression(), "binary")
    found = importance(model, SAMPLE)
    assert set(found.inputs) == {"twice_a", "twice_b", "twice_c"}
    assert max(found.inputs, key=found.inputs.get) == "twice_a"


def failing(x: Features) -> Features:
    if x["a"] < -1:
        raise ZeroDivisionError
    return x


def harmless(x: Features) -> Features:
    return x if x["a"] >= -1 else {**x, "a": -1.0}


@pytest.mark.parametrize(
    "estimator",
    [
        neighbors.KNNClassifier(),
        tree.HoeffdingTreeClassifier(leaf_prediction="nb", nb_threshold=0),
        compose.Pipeline(preprocessing.StandardScaler(), linear_model.PAClassifier()),
    ],
)
def test_other_models_have_none(estimator):
    assert importance(trained(estimator, "binary", 300), SAMPLE) is None


def test_a_model_that_fails_on_a_row_has_none():
    model = trained(harmless | linear_model.LogisticRegression(), "binary")
    assert importance(model, SAMPLE) is not None
    failed = Model("v2", failing | model.estimator["LogisticRegression"])
    assert any(row["a"] < -1 for row in SAMPLE)
    assert importance(failed, SAMPLE) is None


def test_without_rows_there_is_none():
    assert importance(trained(LINEAR["binary"], "binary"), []) is None
