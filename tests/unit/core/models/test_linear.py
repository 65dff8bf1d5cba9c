"""Compiled linear models: every score equals River's to the last digit, or the model is not compiled."""

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from river import linear_model, optim, preprocessing

from flows.core.models.linear import compiled
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS

NAMES = ("a", "b", "c")
Rows = list[tuple[float, ...]]


def logistic(**options: Any) -> Any:
    return linear_model.LogisticRegression(**options)


def scaled(last: Any, **options: Any) -> Any:
    return preprocessing.StandardScaler(**options) | last


def model(estimator: Any, learned: Sequence[tuple[float, ...]], names: Sequence[str] = NAMES) -> Model:
    is_regression = "Linear" in str(estimator)
    of = Model("v1", estimator, task=TASKS["regression" if is_regression else "binary"])
    for row in learned:
        truth = sum(row) if is_regression else sum(row) > 0
        assert of.learn(dict(zip(names, row, strict=True)), truth) is None
    return of


def river(of: Model, rows: Rows) -> list[Any]:
    return [of.score(dict(zip(NAMES, row, strict=True))) for row in rows]


numbers = (
    st.floats(-1e6, 1e6) | st.integers(-(2**60), 2**60) | st.booleans() | st.sampled_from([-0.0, 1e-300])
)
rows = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12)
learned = st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 3), max_size=12)
estimators = st.sampled_from(
    [
        lambda: logistic(),
        lambda: scaled(logistic()),
        lambda: scaled(logistic(optimizer=optim.Adam(0.1), l2=0.01, intercept_init=0.5)),
        lambda: linear_model.LinearRegression(optimizer=optim.SGD(1e-9)),
        lambda: scaled(linear_model.LinearRegression(intercept_lr=0.3)),
    ]
)


@given(estimators, learned, rows)
@settings(deadline=None)
def test_every_score_is_that_of_river_to_the_last_digit(estimator, learned, rows):
    of = model(estimator(), learned)
    scorer = compiled(of, NAMES)
    assume(scorer is not None)  # None for a scale so extreme that it would not score exactly
    scores = scorer.score(rows)
    if scores is None:  # one is too large
        with pytest.raises(ArithmeticError):
            river(of, rows)
        return
    assert [repr(score) for score in scores] == [repr(score) for score in river(of, rows)]


@given(learned, rows)
@example([(0.0, 0.0, 0.0), (0.0, 0.0, 9.6e-142)], [(0.0, 0.0, 9.6e10), (0.0, 0.0, 0.0)])
@settings(deadline=None)
def test_a_score_does_not_depend_on_the_rest_of_its_batch(learned, rows):
    scorer = compiled(model(scaled(logistic()), learned), NAMES)
    assume(scorer is not None)
    alone, together = [scorer.score([row]) for row in rows], scorer.score(rows)
    if None in alone:  # a score is too large: the batch is scored row by row
        assert together is None
        return
    assert together == [score for (score,) in alone]
    assert scorer.score(rows[::-1]) == together[::-1]


MANY = [(float(number % 7), number / 3, 5.0) for number in range(30)]


def test_a_feature_of_one_value_only_is_scaled_to_zero_as_by_river():
    of = model(scaled(logistic()), MANY)
    assert of.estimator["StandardScaler"].vars["c"] == 0
    assert compiled(of, NAMES).score([(1.0, 2.0, 99.0)]) == river(of, [(1.0, 2.0, 99.0)])


def test_a_feature_that_the_model_never_saw_has_no_weight():
    of = model(scaled(logistic()), [row[:2] for row in MANY], NAMES[:2])
    assert compiled(of, NAMES).score([(1.0, 2.0, 99.0)]) == river(of, [(1.0, 2.0, 99.0)])


def test_a_weight_of_a_feature_that_is_no_longer_declared_is_ignored():
    of = model(scaled(logistic()), MANY)
    assert compiled(of, NAMES[:2]).score([(1.0, 2.0)]) == [of.score({"a": 1.0, "b": 2.0})]


@pytest.mark.parametrize("value", [None, "7", nan, inf, -inf, 10**400, [1.0]])
def test_a_batch_with_a_feature_that_is_no_finite_number_is_left_to_the_model(value):
    scorer = compiled(model(scaled(logistic()), MANY), NAMES)
    assert scorer.score([(1.0, 2.0, 3.0), (1.0, value, 3.0)]) is None


def test_a_batch_with_a_score_that_is_out_of_range_is_left_to_the_model():
    of = model(linear_model.LinearRegression(), [(1.0, 1.0, 1.0)] * 3)
    scorer = compiled(of, NAMES)
    assert scorer.score([(1.0, 1.0, 1.0)]) == river(of, [(1.0, 1.0, 1.0)])
    assert scorer.score([(1.0, 1.0, 1e300)]) is None


class OfTheUser(linear_model.LogisticRegression):
    """A subclass may do anything."""


class HalfScaler(preprocessing.StandardScaler):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    "estimator",
    [
        OfTheUser(),
        HalfScaler() | linear_model.LogisticRegression(),
        scaled(logistic(), with_std=False),
        scaled(logistic(), window_size=9),
        preprocessing.StandardScaler() | preprocessing.MinMaxScaler() | linear_model.LogisticRegression(),
        preprocessing.StandardScaler() | preprocessing.StandardScaler() | linear_model.LogisticRegression(),
        linear_model.Perceptron(),
        linear_model.ALMAClassifier(),
        object(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_any_other_estimator_is_not_compiled(estimator):
    assert compiled(Model("v1", estimator), NAMES) is None


def test_a_model_that_scores_otherwise_than_its_class_is_not_compiled(monkeypatch):
    of = model(scaled(logistic()), MANY)
    monkeypatch.setattr(of.estimator["LogisticRegression"].loss, "mean_func", lambda _: 0.5, raising=False)
    assert compiled(of, NAMES) is None


@pytest.mark.parametrize("weight", [nan, inf])
def test_a_poisoned_model_is_not_compiled(weight):
    of = model(scaled(logistic()), MANY)
    of.estimator["LogisticRegression"]._weights["a"] = weight
    assert compiled(of, NAMES) is None


def test_names_that_are_given_twice_are_not_compiled():
    of = model(scaled(logistic()), MANY)
    assert compiled(of, ("a", "b", "b")) is None


def test_a_model_without_features_scores_each_event_the_same():
    of = model(scaled(logistic()), MANY)
    assert compiled(of, ()).score([()] * 3) == [of.score({})] * 3
