"""Contributions in trees: the game of path-dependent TreeSHAP by all coalitions, and SHAP's own explainer."""

from collections.abc import Callable, Collection, Iterator
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest
import shap
from hypothesis import given, settings
from hypothesis import strategies as st
from river import forest, preprocessing, tree
from river.tree.nodes.branch import DTBranch
from shapley import by_coalitions

from flows.core.explaining.output import explained_output
from flows.core.explaining.trees import tree_attribution
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS

NAMES = ("a", "b", "c", "color", "d")
COLORS = ("blue", "green", "red")
Row = dict[str, Any]


def rows(count: int, seed: int) -> Iterator[Row]:
    random = Random(seed)
    for _ in range(count):
        numbers = {name: random.gauss(0, 1) for name in NAMES}
        yield {**numbers, "color": random.choice(COLORS)}


def total(row: Row) -> float:
    return row["a"] * (row["b"] > 0) + 2 * (row["color"] == "red") - row["c"] * (row["a"] > 0)


def trained(estimator: Any, task: str, count: int = 2500) -> Model:
    model = Model("v1", estimator, task=TASKS[task])
    for row in rows(count, seed=1):
        truths = {"binary": total(row) > 0.5, "multiclass": str(round(total(row))), "regression": total(row)}
        assert model.learn(row, truths[task]) is None
    return model


CLASSES: dict[str, Any] = {"leaf_prediction": "mc"}
MEAN: dict[str, Any] = {"leaf_prediction": "mean"}
QUICK: dict[str, Any] = {"grace_period": 50, "tau": 0.2}  # splits early


def classifier(**options: Any) -> Any:
    return tree.HoeffdingTreeClassifier(**CLASSES, **QUICK, **options)


def regressor() -> Any:
    return tree.HoeffdingTreeRegressor(**MEAN, **QUICK)


def adaptive_classifier() -> Any:
    return tree.HoeffdingAdaptiveTreeClassifier(seed=1, **CLASSES, **QUICK)


def adaptive_regressor() -> Any:
    return tree.HoeffdingAdaptiveTreeRegressor(seed=1, **MEAN, **QUICK)


def classifiers(**options: Any) -> Any:
    return forest.ARFClassifier(3, seed=1, **CLASSES, **options)


def regressors(aggregation: str) -> Any:
    return forest.ARFRegressor(3, seed=1, aggregation_method=aggregation, **MEAN)


SINGLE: dict[str, Callable[[], Model]] = {
    "multiway splits": lambda: trained(classifier(), "binary"),
    "binary splits": lambda: trained(classifier(binary_split=True), "binary"),
    "classes": lambda: trained(classifier(), "multiclass"),
    "regressor": lambda: trained(regressor(), "regression"),
    "adaptive classifier": lambda: trained(adaptive_classifier(), "binary"),
    "adaptive regressor": lambda: trained(adaptive_regressor(), "regression"),
}
FORESTS: dict[str, Callable[[], Model]] = {
    "forest": lambda: trained(classifiers(), "binary", 1500),
    "equal votes": lambda: trained(classifiers(disable_weighted_vote=True), "binary", 1500),
    "forest of regressors": lambda: trained(regressors("mean"), "regression", 1500),
}


@cache
def trained_model(name: str) -> Model:
    return (SINGLE | FORESTS)[name]()


def distribution(model: Model, leaf: Any, label: Any) -> float:
    """What a leaf gives, by River's own prediction."""
    if model.task.name == "regression":
        return float(leaf.prediction({}, tree=model.estimator))
    votes = leaf.prediction({}, tree=model.estimator)
    return float(votes.get(label, 0.0) / sum(votes.values()))


def expected(model: Model, node: Any, row: Row, known: Collection[str], label: Any) -> float:
    """The output when unknown features send the row down each branch by the share of learned events."""
    if not isinstance(node, DTBranch):
        return distribution(model, node, label)
    if node.feature in known:
        try:
            return expected(model, node.next(row), row, known, label)
        except KeyError:
            return expected(model, node.most_common_path()[1], row, known, label)
    weights = [child.total_weight for child in node.children]
    outputs = [expected(model, child, row, known, label) for child in node.children]
    return sum(w * output for w, output in zip(weights, outputs, strict=True)) / sum(weights)


@pytest.mark.parametrize("name", SINGLE)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), color=st.sampled_from([*COLORS, "unseen"]))
def test_the_contributions_are_the_shapley_values_over_all_coalitions(
    name: str, seed: int, color: str
) -> None:
    model = trained_model(name)
    row = {**next(rows(1, seed)), "color": color}
    label = explained_output(model, row).label
    found = tree_attribution(model.estimator, row, label)
    assert found is not None
    assert isinstance(model.estimator._root, DTBranch)  # the tree has split

    def value(coalition: Collection[str]) -> float:
        return expected(model, model.estimator._root, row, coalition, label)

    assert found.contributions == pytest.approx(by_coalitions(value, NAMES), abs=1e-12)
    assert found.base == pytest.approx(value(()), abs=1e-12)


@pytest.mark.parametrize("name", SINGLE | FORESTS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_base_and_the_contributions_add_up_to_the_score(name: str, seed: int) -> None:
    model, row = trained_model(name), next(rows(1, seed))
    output = explained_output(model, row)
    found = tree_attribution(model.estimator, row, output.label)
    assert found is not None
    assert found.total == pytest.approx(output.function(row), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SINGLE | FORESTS)
def test_a_feature_on_no_branch_contributes_nothing(name: str) -> None:
    model = trained_model(name)
    row = {**next(rows(1, seed=5)), "idle": 7.0}
    found = tree_attribution(model.estimator, row, explained_output(model, row).label)
    assert found is not None
    assert found.contributions["idle"] == 0.0
    assert any(found.contributions.values())


def as_dict(root: Any, names: list[str]) -> dict[str, Any]:
    """The tree as SHAP takes trees of other libraries: arrays with one entry for each node."""
    nodes: dict[str, list[Any]] = {
        key: [] for key in ("children_left", "children_right", "features", "thresholds", "values", "weights")
    }

    def add(node: Any) -> int:
        number = len(nodes["features"])
        inner = isinstance(node, DTBranch)
        nodes["children_left"].append(-1)
        nodes["children_right"].append(-1)
        nodes["features"].append(names.index(node.feature) if inner else -2)
        nodes["thresholds"].append(node.threshold if inner else -2.0)
        nodes["values"].append([0.0 if inner else node.stats.mean.get()])
        nodes["weights"].append(node.total_weight)
        if inner:
            left, right = node.children
            nodes["children_left"][number] = add(left)
            nodes["children_right"][number] = add(right)
        return number

    add(root)
    arrays = {key: np.array(value) for key, value in nodes.items()}
    return {
        "children_left": arrays["children_left"],
        "children_right": arrays["children_right"],
        "children_default": arrays["children_left"],
        "features": arrays["features"],
        "thresholds": arrays["thresholds"].astype(float),
        "values": arrays["values"].astype(float),
        "node_sample_weight": arrays["weights"].astype(float),
    }


def test_shap_gives_the_same_contributions() -> None:
    names = ["a", "b", "c", "d"]
    model = Model("v1", regressor(), task=TASKS["regression"])
    for row in rows(6000, seed=2):
        model.learn({name: row[name] for name in names}, total(row))
    assert model.estimator.height > 3
    explainer = shap.TreeExplainer(
        {"trees": [as_dict(model.estimator._root, names)]}, feature_perturbation="tree_path_dependent"
    )
    for row in rows(30, seed=3):
        theirs = explainer.shap_values(np.array([[row[name] for name in names]]))[0]
        found = tree_attribution(model.estimator, {name: row[name] for name in names}, None)
        assert found is not None
        assert list(found.contributions.values()) == pytest.approx(theirs.tolist(), abs=1e-9)


def test_a_tree_behind_a_scaler_is_explained_in_the_features_before_it() -> None:
    model = Model("v1", preprocessing.StandardScaler() | classifier())
    for row in rows(3000, seed=4):
        model.learn({"a": row["a"] * 100, "b": row["b"] + 7}, row["a"] * row["b"] > 0)
    row = {"a": 120.0, "b": 6.5}
    found = tree_attribution(model.estimator, row, True)
    assert found is not None
    assert found.contributions.keys() == row.keys()
    assert found.total == pytest.approx(model.score(row), abs=1e-12)
    assert found.base != found.total


def prepare(x: Row) -> Row:
    return {"a": x["b"], "b": x["a"]}


def model_tree() -> Any:
    """A tree whose leaves are regressions."""
    estimator = tree.HoeffdingTreeRegressor(leaf_prediction="model")
    for row in rows(300, seed=1):
        estimator.learn_one({"a": row["a"], "b": row["b"]}, row["a"])
    return estimator


def growing_alternate() -> Any:
    """An adaptive tree with an alternate subtree, whose answers River adds."""
    estimator = adaptive_classifier()
    for number, row in enumerate(rows(20_000, seed=1)):
        estimator.learn_one(row, total(row) > 0.5 if number < 4000 else row["d"] > 0)
        if (
            estimator._n_alternate_trees
            > estimator._n_pruned_alternate_trees + estimator._n_switch_alternate_trees
        ):
            return estimator
    raise AssertionError("no alternate tree")


OTHERS: dict[str, Callable[[], Any]] = {
    "naive Bayes": lambda: (
        trained(tree.HoeffdingTreeClassifier(leaf_prediction="nb"), "binary", 500).estimator
    ),
    "models": model_tree,
    "a median": lambda: trained(regressors("median"), "regression", 500).estimator,
    "an alternate tree": growing_alternate,
    "a function": lambda: prepare | trained(classifier(), "binary", 500).estimator,
    "nothing learned": classifier,
    "another tree": lambda: trained(tree.ExtremelyFastDecisionTreeClassifier(), "binary", 500).estimator,
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_sum_of_constants_has_no_exact_contributions(name: str) -> None:
    assert tree_attribution(OTHERS[name](), next(rows(1, seed=6)), True) is None
