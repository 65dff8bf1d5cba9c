"""Linear models as numbers: River's scores, or a refusal that names the step."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, linear_model, naive_bayes, preprocessing, tree

from flows.core.exporting.linear_form import LinearForm, linear_form
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS
from flows.errors import ConfigError

NAMES = ("a", "b", "constant")


def trained(estimator: Any, seed: int, rows: int = 50) -> Model:
    task = TASKS["binary" if "Logistic" in repr(estimator) else "regression"]
    model, random = Model("v1", estimator, task=task), Random(seed)
    for _ in range(rows):
        row = {"a": random.gauss(5, 3), "b": random.gauss(0, 1e-3), "constant": 4}
        truth = row["a"] + 1000 * row["b"] > 5
        assert model.learn(row, truth if task.name == "binary" else row["a"]) is None
    return model


def by_form(form: LinearForm, rows: Any) -> list[float]:
    scaled = (np.array(rows, dtype=float) - form.means) / np.array(form.deviations)
    sums = scaled @ np.array(form.weights) + form.intercept
    return (1 / (1 + np.exp(-sums)) if form.probability else sums).tolist()


FORMS: dict[str, Callable[[], Any]] = {
    "scaled logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "logistic": linear_model.LogisticRegression,
    "scaled linear": lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
}


@pytest.mark.parametrize("name", FORMS)
@settings(deadline=None, max_examples=30)  # River loads parts when they are first used
@given(seed=st.integers(0, 2**32))
def test_the_form_gives_rivers_scores(name: str, seed: int) -> None:
    model, random = trained(FORMS[name](), seed), Random(seed + 1)  # type: ignore[misc]
    rows = [[random.gauss(5, 9), random.gauss(0, 1), random.choice([4, 7])] for _ in range(20)]
    rivers = [model.score(dict(zip(NAMES, row, strict=True))) for row in rows]
    assert by_form(linear_form(model.estimator, NAMES, "ONNX"), rows) == pytest.approx(rivers, abs=1e-9)


def test_a_model_that_learned_nothing_has_a_form() -> None:
    form = linear_form(preprocessing.StandardScaler() | linear_model.LogisticRegression(), NAMES, "ONNX")
    assert by_form(form, [[1, 2, 3]]) == [0.5]


class Own(linear_model.LogisticRegression):
    """A user's subclass, which may score as it likes."""


def double(x: dict[str, float]) -> dict[str, float]:
    return {name: 2 * value for name, value in x.items()}


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (tree.HoeffdingTreeClassifier(), "HoeffdingTreeClassifier"),
        (preprocessing.StandardScaler() | naive_bayes.GaussianNB(), "GaussianNB"),
        (preprocessing.MinMaxScaler() | linear_model.LogisticRegression(), "MinMaxScaler"),
        (compose.FuncTransformer(double) | linear_model.LogisticRegression(), "the function 'double'"),
        (Own(), "Own"),
        (preprocessing.StandardScaler(with_std=False) | linear_model.LogisticRegression(), "deviations"),
        (preprocessing.StandardScaler(window_size=5) | linear_model.LogisticRegression(), "over a window"),
        (object(), "object"),
    ],
)
def test_any_other_model_is_refused_by_name(estimator: Any, named: str) -> None:
    with pytest.raises(ConfigError, match="cannot be exported to ONNX; the model must be Log") as refused:
        linear_form(estimator, NAMES, "ONNX")
    assert named in str(refused.value).partition(" cannot")[0]
