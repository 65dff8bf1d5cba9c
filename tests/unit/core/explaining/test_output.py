"""The number that is explained, for each task."""

from math import log
from random import Random
from typing import Any

import pytest
from river import anomaly, linear_model, preprocessing, tree

from flows.core.explaining.output import explained_output
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS

ROW = {"a": 1.5, "b": -0.5}


def prepare(x: dict[str, float]) -> dict[str, float]:
    return {"sum": x["a"] + x["b"], "product": x["a"] * x["b"]}


def trained(estimator: Any, task: str) -> Model:
    model, random = Model("v1", estimator, task=TASKS[task]), Random(1)
    for _ in range(300):
        row = {"a": random.gauss(0, 1), "b": random.gauss(0, 1)}
        truths = {"binary": row["a"] > 0, "multiclass": str(row["a"] > 0), "regression": row["b"]}
        assert model.learn(row, truths.get(task)) is None
    return model


def test_of_a_logistic_regression_it_is_the_log_odds_of_the_score() -> None:
    model = trained(prepare | preprocessing.StandardScaler() | linear_model.LogisticRegression(), "binary")
    output, score = explained_output(model, ROW), model.score(ROW)
    assert output.unit == "log-odds"
    assert output.function(ROW) == pytest.approx(log(score / (1 - score)), rel=1e-9)
    assert output.served(ROW) == score


@pytest.mark.parametrize(
    ("estimator", "task", "unit"),
    [
        (tree.HoeffdingTreeClassifier(), "binary", "probability"),
        (preprocessing.StandardScaler() | linear_model.LinearRegression(), "regression", "value"),
    ],
)
def test_of_another_model_with_one_number_it_is_the_score(estimator: Any, task: str, unit: str) -> None:
    model = trained(estimator, task)
    output = explained_output(model, ROW)
    assert output.unit == unit
    assert output.function(ROW) == output.served(ROW) == model.score(ROW)


def test_of_several_classes_it_is_the_probability_of_the_most_likely_one_also_for_other_features() -> None:
    model = trained(tree.HoeffdingTreeClassifier(), "multiclass")
    output, other = explained_output(model, ROW), {"a": -2.0, "b": 0.0}
    assert output.unit == "probability of 'True'"
    assert output.function(ROW) == model.score(ROW)["True"] > 0.5
    assert output.function(other) == model.score(other)["True"] < 0.5


def test_of_an_anomaly_detector_it_is_the_score_and_not_the_flag() -> None:
    detector = anomaly.QuantileFilter(anomaly.HalfSpaceTrees(seed=1), q=0.9)
    model = trained(preprocessing.MinMaxScaler() | detector, "anomaly")
    output = explained_output(model, ROW)
    assert output.unit == "anomaly score"
    assert output.function(ROW) == model.score(ROW)["score"]
