"""Learning blocks: the model has the same bytes as River's after one event after another."""

import pickle
from collections.abc import Sequence
from math import inf, log1p, nan
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, linear_model, optim, preprocessing

from flows.core.models import block_learning
from flows.core.models.block_learning import COMPILE_FROM, learn_block
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS

NAMES = ("a", "b", "c")
Row = Sequence[Any]


def logistic(**options: Any) -> Any:
    return linear_model.LogisticRegression(**options)


def scaled(last: Any, **options: Any) -> Any:
    return preprocessing.StandardScaler(**options) | last


def prepare(x: dict[str, Any]) -> dict[str, float]:
    return {"c": log1p(abs(x["c"])), "a": x["a"], "product": x["a"] * x["b"]}


LINEAR = {
    "regression alone": logistic,
    "scaler": lambda: scaled(logistic()),
    "loss": lambda: scaled(logistic(loss=optim.losses.Log(2.0, 0.5), clip_gradient=0.3, intercept_lr=0.2)),
    "AdaGrad": lambda: scaled(logistic(optimizer=optim.AdaGrad(0.1, eps=10.0), intercept_init=-4.5)),
    "function": lambda: prepare | scaled(logistic(optimizer=optim.AdaGrad(0.05))),
    "hinge": lambda: scaled(logistic(loss=optim.losses.Hinge())),
    "LinearRegression": lambda: scaled(linear_model.LinearRegression(optimizer=optim.SGD(1e-3))),
    "Huber": lambda: prepare | linear_model.LinearRegression(loss=optim.losses.EpsilonInsensitiveHinge()),
}
OTHER = {
    "l2": lambda: scaled(logistic(l2=0.1)),
    "l1": lambda: scaled(logistic(l1=0.1)),
    "Adam": lambda: scaled(logistic(optimizer=optim.Adam())),
    "schedule": lambda: scaled(logistic(optimizer=optim.SGD(optim.schedulers.InverseScaling(0.1)))),
    "window": lambda: scaled(logistic(), window_size=5),
    "no deviation": lambda: scaled(logistic(), with_std=False),
    "two scalers": lambda: preprocessing.MinMaxScaler() | scaled(logistic()),
    "another regression": lambda: scaled(linear_model.PAClassifier()),
    "union": lambda: (compose.Select("a") + compose.Select("b")) | logistic(),
}


def model(estimator: Any) -> Model:
    is_regression = "LinearRegression" in str(estimator)
    return Model("v1", estimator, task=TASKS["regression" if is_regression else "binary"])


def truths(rows: Sequence[Row], of: Model) -> list[Any]:
    sums = [sum(value for value in row if type(value) is float and abs(value) < inf) for row in rows]
    return sums if of.task.name == "regression" else [total > 0 for total in sums]


def one_by_one(of: Model, rows: Sequence[Row]) -> list[str]:
    known = truths(rows, of)
    return [repr(of.learn(dict(zip(NAMES, r, strict=True)), t)) for r, t in zip(rows, known, strict=True)]


def in_blocks(of: Model, rows: Sequence[Row], size: int) -> list[str]:
    errors: list[str] = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        errors += map(repr, learn_block(of, NAMES, block, truths(block, of)))
    return errors


def assert_equal(make: Any, rows: Sequence[Row], size: int) -> None:
    ours, river = model(make()), model(make())
    assert in_blocks(ours, rows, size) == one_by_one(river, rows)
    assert ours.learned == river.learned
    assert pickle.dumps(ours.estimator) == pickle.dumps(river.estimator)


def gaussian(count: int, seed: int = 1) -> list[list[float]]:
    draw = Random(seed)
    return [[draw.gauss(1, 3), draw.gauss(0, 1e-3), draw.gauss(100, 50)] for _ in range(count)]


numbers = (
    st.floats(-1e6, 1e6) | st.integers(-(2**60), 2**60) | st.booleans() | st.sampled_from([-0.0, 1e-300])
)
anything = numbers | st.sampled_from([1e160, 1e308, 10**400, None, "text", nan, inf])


def rows_of(values: Any) -> Any:
    return st.lists(st.tuples(values, values, values), min_size=COMPILE_FROM, max_size=40)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("size", [COMPILE_FROM, 33, 250])
def test_a_linear_model_learns_blocks_as_river_learns_events(kind, size):
    assert_equal(LINEAR[kind], gaussian(600), size)


@given(st.sampled_from(sorted(LINEAR)), rows_of(numbers))
@settings(deadline=None)
def test_any_numbers_are_learned_as_by_river(kind, rows):
    assert_equal(LINEAR[kind], [*gaussian(10), *rows, *gaussian(10, 2)], 10)


@given(st.sampled_from(sorted(LINEAR)), rows_of(anything))
@settings(deadline=None)
def test_what_river_cannot_learn_fails_in_the_same_rows_with_the_same_errors(kind, rows):
    assert_equal(LINEAR[kind], [*gaussian(10), *rows], 10)


@pytest.mark.parametrize("kind", OTHER)
def test_other_models_learn_event_by_event(kind):
    estimator = OTHER[kind]()
    assert block_learning._parts(estimator) is None
    assert_equal(OTHER[kind], gaussian(100), 20)


@pytest.mark.parametrize("kind", LINEAR)
def test_a_model_that_knows_its_features_is_not_left_to_river(kind, monkeypatch):
    of = model(LINEAR[kind]())
    one_by_one(of, gaussian(2))
    monkeypatch.setattr(Model, "learn", lambda *_: pytest.fail("was learned event by event"))
    assert in_blocks(of, gaussian(50), 25) == ["None"] * 50


def test_a_function_whose_rows_have_other_names_is_left_to_river():
    make = lambda: (lambda x: {"a": x["a"]} if x["a"] > 0 else {"b": x["b"]}) | scaled(logistic())  # noqa: E731
    ours, river = model(make()), model(make())
    assert in_blocks(ours, gaussian(200), 50) == one_by_one(river, gaussian(200))
    weights = [each.estimator["LogisticRegression"].weights for each in (ours, river)]
    assert list(weights[0].items()) == list(weights[1].items())
