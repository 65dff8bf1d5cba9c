"""The frozen scaler: every number equals River's to the last digit, or the scaler is not frozen."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, linear_model, naive_bayes, preprocessing

from flows.core.models.frozen_scaler import frozen_scaler, without_scaler
from flows.core.models.model import Model

NAMES = ("a", "b", "c")
MANY = [(float(number % 7), number / 3, 5.0) for number in range(30)]

numbers = (
    st.floats(-1e6, 1e6) | st.integers(-(2**60), 2**60) | st.booleans() | st.sampled_from([-0.0, 1e-300])
)
rows = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12)
learned = st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 3), max_size=12)


def scaler(learned: list[tuple[float, ...]]) -> Any:
    of = preprocessing.StandardScaler()
    for row in learned:
        of.learn_one(dict(zip(NAMES, row, strict=True)))
    return of


@given(learned, rows)
@settings(deadline=None)
def test_every_number_is_that_of_river_to_the_last_digit(learned, rows):
    of = scaler(learned)
    by_river = [list(of.transform_one(dict(zip(NAMES, row, strict=True))).values()) for row in rows]
    assert repr(frozen_scaler(of, NAMES).scale(rows).tolist()) == repr(by_river)


@pytest.mark.parametrize("value", [None, "7", nan, inf, 10**400, [1.0]])
def test_a_batch_with_a_feature_that_is_no_finite_number_is_left_to_river(value):
    assert frozen_scaler(scaler(MANY), NAMES).scale([(1.0, 2.0, 3.0), (1.0, value, 3.0)]) is None


class HalfScaler(preprocessing.StandardScaler):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    "estimator",
    [
        preprocessing.StandardScaler(),
        preprocessing.StandardScaler(with_std=False) | naive_bayes.GaussianNB(),
        preprocessing.StandardScaler(window_size=9) | naive_bayes.GaussianNB(),
        HalfScaler() | naive_bayes.GaussianNB(),
        preprocessing.MinMaxScaler() | preprocessing.StandardScaler() | naive_bayes.GaussianNB(),
        naive_bayes.GaussianNB(),
        object(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_any_other_first_step_is_left_to_river(estimator):
    assert without_scaler(Model("v1", estimator), NAMES) is None


def test_a_scaler_that_scales_otherwise_than_its_class_is_left_to_river(monkeypatch):
    model = Model("v1", preprocessing.StandardScaler() | naive_bayes.GaussianNB())
    assert without_scaler(model, NAMES) is not None
    monkeypatch.setattr(preprocessing.StandardScaler, "transform_one", lambda _, x: x)
    assert without_scaler(model, NAMES) is None


@pytest.mark.parametrize("variance", [None, nan, inf, -1.0])
def test_a_poisoned_scaler_is_left_to_river(variance):
    poisoned = scaler(MANY)
    poisoned.vars["a"] = variance
    assert without_scaler(Model("v1", poisoned | naive_bayes.GaussianNB()), NAMES) is None


def test_names_that_are_given_twice_are_left_to_river():
    model = Model("v1", preprocessing.StandardScaler() | naive_bayes.GaussianNB())
    assert without_scaler(model, ("a", "b", "b")) is None


def test_the_steps_behind_the_scaler_stay_in_their_order():
    steps = preprocessing.MinMaxScaler(), linear_model.LogisticRegression()
    model = Model("v7", compose.Pipeline(scaler(MANY), *steps))
    _, rest = without_scaler(model, NAMES)
    assert (rest.version, rest.task) == (model.version, model.task)
    assert list(rest.estimator.steps.values()) == list(steps)
