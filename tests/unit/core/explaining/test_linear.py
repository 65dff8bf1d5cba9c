"""Contributions in linear models: the definition of Shapley values, and SHAP's own explainer."""

from random import Random
from typing import Any

import numpy as np
import pytest
import shap
from hypothesis import given
from hypothesis import strategies as st
from river import compose, linear_model, preprocessing
from shapley import against, by_coalitions

from flows.core.explaining.linear import linear_attribution
from flows.core.explaining.output import explained_output
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS

NAMES = ("a", "b", "c", "d", "e")
Row = dict[str, float]


def rows(count: int, seed: int) -> list[Row]:
    random = Random(seed)
    return [
        {name: random.gauss(3 * number, 1 + number) for number, name in enumerate(NAMES)}
        for _ in range(count)
    ]


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def linear() -> Any:
    return preprocessing.MinMaxScaler() | linear_model.LinearRegression()


def trained(estimator: Any, task: str) -> Model:
    model = Model("v1", estimator, task=TASKS[task])
    for row in rows(500, seed=1):
        total = row["a"] - row["b"] + 0.2 * row["d"]
        assert model.learn(row, total > 0 if task == "binary" else total) is None
    return model


LOGISTIC, LINEAR = trained(logistic(), "binary"), trained(linear(), "regression")
PLAIN = trained(linear_model.LogisticRegression(), "binary")
FEWER = trained(compose.Select("a", "b") | linear_model.LinearRegression(), "regression")
MODELS = pytest.mark.parametrize(
    "model", [LOGISTIC, LINEAR, PLAIN, FEWER], ids=["logistic", "linear", "plain", "fewer"]
)
BACKGROUND = rows(20, seed=2)


@MODELS
def test_the_contributions_are_the_shapley_values_over_all_coalitions(model: Model) -> None:
    (row,) = rows(1, seed=3)
    found = linear_attribution(model.estimator, row, BACKGROUND)
    assert found is not None
    value = against(explained_output(model, row).function, row, BACKGROUND)
    assert found.contributions == pytest.approx(by_coalitions(value, NAMES), abs=1e-9)
    assert found.base == pytest.approx(value(()), abs=1e-9)


@MODELS
@given(row=st.fixed_dictionaries({name: st.floats(-50, 50) for name in NAMES}))
def test_the_base_and_the_contributions_add_up_to_the_output(model: Model, row: Row) -> None:
    found = linear_attribution(model.estimator, row, BACKGROUND)
    assert found is not None
    assert found.total == pytest.approx(explained_output(model, row).function(row), rel=1e-9, abs=1e-9)
    assert found.rows == len(BACKGROUND)


def test_shap_gives_the_same_contributions() -> None:
    weights, intercept = PLAIN.estimator.weights, PLAIN.estimator.intercept
    background = np.array([list(row.values()) for row in BACKGROUND])
    explainer = shap.LinearExplainer(
        (np.array([weights[name] for name in NAMES]), intercept),
        shap.maskers.Independent(background, len(background)),
    )
    for row in rows(10, seed=4):
        found = linear_attribution(PLAIN.estimator, row, BACKGROUND)
        assert found is not None
        theirs = explainer.shap_values(np.array([list(row.values())]))[0]
        assert list(found.contributions.values()) == pytest.approx(theirs.tolist(), abs=1e-9)
        assert found.base == pytest.approx(explainer.expected_value, abs=1e-9)


def test_a_feature_that_the_model_does_not_read_contributes_nothing() -> None:
    found = linear_attribution(FEWER.estimator, rows(1, seed=5)[0], BACKGROUND)
    assert found is not None
    assert [found.contributions[name] for name in ("c", "d", "e")] == [0.0] * 3


def test_equal_columns_contribute_equally() -> None:
    model = Model("v1", logistic())
    for row in rows(300, seed=6):
        model.learn({"one": row["a"], "other": row["a"], "third": row["b"]}, row["a"] > 0)
    background = [{"one": row["a"], "other": row["a"], "third": row["b"]} for row in BACKGROUND]
    found = linear_attribution(model.estimator, {"one": 2.0, "other": 2.0, "third": 1.0}, background)
    assert found is not None
    assert found.contributions["one"] == found.contributions["other"] != 0


def prepare(x: Row) -> Row:
    return {"product": x["a"] * x["b"]}


@pytest.mark.parametrize(
    "estimator",
    [
        prepare | linear_model.LogisticRegression(),
        preprocessing.Normalizer() | linear_model.LogisticRegression(),  # it divides by the row's length
        linear_model.PAClassifier(),
    ],
    ids=["a function", "a scaler of rows", "another model"],
)
def test_what_does_not_treat_each_feature_by_itself_has_no_exact_contributions(estimator: Any) -> None:
    assert linear_attribution(estimator, rows(1, seed=7)[0], BACKGROUND) is None
