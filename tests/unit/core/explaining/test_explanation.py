"""An explanation uses the method that is exact for the model, and says which."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from river import forest, linear_model, naive_bayes, preprocessing, tree

from flows.core.explaining.explanation import explain
from flows.core.explaining.sampling import BUDGET
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS
from flows.errors import ConfigError

Row = Mapping[str, Any]
FEW, MANY = 4, 12


def prepare(x: Row) -> dict[str, float]:
    """Return other names than the served ones; each feature by itself."""
    return {f"squared {name}": value * value for name, value in x.items()}


def interact(x: Row) -> dict[str, float]:
    return {"product": x["f0"] * x["f1"], **x}


def rows(count: int, width: int, seed: int = 1) -> list[dict[str, float]]:
    random = Random(seed)
    return [{f"f{number}": random.gauss(0, 1) for number in range(width)} for _ in range(count)]


def trained(estimator: Any, width: int, task: str = "binary") -> Model:
    model = Model("v1", estimator, task=TASKS[task])
    for row in rows(800, width):
        total = row["f0"] + row["f1"] * row["f2"]
        truths = {"binary": total > 0, "multiclass": str(round(total)), "regression": total}
        assert model.learn(row, truths[task]) is None
    return model


def logistic() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def constants(**options: Any) -> Any:
    return tree.HoeffdingTreeClassifier(leaf_prediction="mc", grace_period=50, **options)


CASES = {
    "a linear model": (logistic, MANY, "binary", "linear"),
    "a tree": (constants, MANY, "binary", "trees"),
    "a forest": (lambda: forest.ARFClassifier(3, leaf_prediction="mc", seed=1), MANY, "binary", "trees"),
    "a function and few features": (lambda: interact | logistic(), FEW, "binary", "coalitions"),
    "naive Bayes and few classes": (naive_bayes.GaussianNB, FEW, "multiclass", "coalitions"),
    "a function and many features": (lambda: interact | logistic(), MANY, "binary", "sampling"),
    "naive Bayes in the leaves": (
        lambda: tree.HoeffdingTreeClassifier(leaf_prediction="nb"),
        MANY,
        "binary",
        "sampling",
    ),
    "a model for the value": (tree.HoeffdingTreeRegressor, MANY, "regression", "sampling"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_method_is_the_exact_one_where_there_is_one_and_the_numbers_add_up(case: str) -> None:
    estimator, width, task, method = CASES[case]
    model = trained(estimator(), width, task)
    row, *background = rows(41, width, seed=2)
    found = explain(model, row, background)
    assert found.method == method
    total = found.base + sum(each.contribution for each in found.contributions)
    assert total == pytest.approx(found.output, rel=1e-9, abs=1e-9)
    assert {each.feature: each.value for each in found.contributions} == row
    assert all((each.error is None) == (method != "sampling") for each in found.contributions)
    assert 0 < found.scores <= BUDGET + 41 + 41 * width


def test_the_largest_contribution_is_first_and_the_largest_change_too() -> None:
    row, *background = rows(41, MANY, seed=3)
    found = explain(trained(logistic(), MANY), row, background)
    contributions = [abs(each.contribution) for each in found.contributions]
    assert contributions == sorted(contributions, reverse=True)
    assert found.contributions[0].feature == found.alternatives[0].feature == "f0"


def test_through_a_function_the_contributions_are_those_of_the_served_features() -> None:
    model = trained(prepare | logistic(), MANY)
    row, *background = rows(41, MANY, seed=4)
    found = explain(model, row, background)
    weights = model.estimator["LogisticRegression"].weights
    scaler = model.estimator["StandardScaler"]
    for each in found.contributions:
        name = f"squared {each.feature}"
        mean = sum(other[each.feature] ** 2 for other in background) / len(background)
        difference = (row[each.feature] ** 2 - mean) / scaler.vars[name] ** 0.5
        assert each.contribution == pytest.approx(weights[name] * difference, abs=1e-9)
        assert each.error == pytest.approx(0, abs=1e-12)


def test_an_untrained_model_gives_no_feature_a_contribution() -> None:
    row, *background = rows(41, FEW)
    found = explain(Model("v1", constants()), row, background)
    assert (found.output, found.base, found.alternatives) == (0.5, 0.5, [])
    assert {each.contribution for each in found.contributions} == {0.0}


def picky(x: Row) -> Row:
    if x["f0"] > 0 and x["f1"] > 0:
        raise ValueError("both are positive")
    return x


def test_a_model_that_fails_on_a_mix_of_two_rows_is_named_with_its_place() -> None:
    model = Model("v1", picky | tree.HoeffdingTreeClassifier())
    row, background = {"f0": 1.0, "f1": -1.0}, [{"f0": -1.0, "f1": 1.0}]
    with pytest.raises(
        ConfigError, match=r"any combination .* got ValueError: both are positive \(test_expl"
    ):
        explain(model, row, background)
