from math import log
from typing import Any

import pytest
from river import anomaly, compose, linear_model, preprocessing, stats

from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.training import LabelledRow, Training, prequential_loss
from flows.core.models.model import Model
from flows.core.models.tasks import TASKS

NAMES = ("a", "b")


class Notebook:
    """An estimator that writes down what it was taught, and predicts the share of true labels."""

    def __init__(self) -> None:
        self.lessons: list[tuple[dict[str, Any], bool]] = []
        self._share = stats.Mean()

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        return {True: self._share.get()} if self.lessons else {}

    def learn_one(self, features: dict[str, Any], truth: bool) -> None:
        if features["a"] is None:
            raise TypeError("no number")
        self.lessons.append((features, truth))
        self._share.update(truth)


def training(model: Model | None = None, failures: list[Exception] | None = None) -> Training:
    failed = [] if failures is None else failures
    return Training(model or Model("v2", Notebook()), NAMES, OutlierFilter(NAMES, "clip"), failed.append)


def taught(rows: list[LabelledRow], failures: list[Exception] | None = None) -> Training:
    found = training(failures=failures)
    for row in rows:
        found.learn(row)
    return found


def test_a_model_learns_rows_in_their_order():
    found = taught([LabelledRow([99, "C"], False), LabelledRow([97, "A"], True)])
    lessons = [({"a": 99, "b": "C"}, False), ({"a": 97, "b": "A"}, True)]
    assert found.model.estimator.lessons == lessons
    assert (found.model.learned, found.rows) == (2, 2)


def test_a_row_that_the_model_cannot_learn_is_left_out_and_its_error_told():
    failures: list[Exception] = []
    found = taught([LabelledRow([None, None], True), LabelledRow([97, "A"], True)], failures)
    assert (found.rows, [str(failure) for failure in failures]) == (1, ["no number"])


def test_a_prediction_made_with_another_feature_plan_is_left_out():
    found = taught([LabelledRow([1], True), LabelledRow([97, "A"], True)])
    assert [features["a"] for features, _ in found.model.estimator.lessons] == [97]


def test_a_copy_counts_only_what_it_learns_now():
    found = training(Model("v2", Notebook(), learned=40))
    found.learn(LabelledRow([1, 2], True))
    assert (found.rows, found.model.learned) == (1, 41)


def test_a_model_that_needs_no_labels_learns_every_row():
    detector = anomaly.QuantileFilter(compose.Select("a") | anomaly.LODA(seed=1), q=0.9)
    found = training(Model("v2", detector, task=TASKS["anomaly"]))
    for number in range(3):
        found.learn(LabelledRow([number, "x"], None))
    assert found.rows == 3


def test_the_prequential_loss_scores_each_row_before_it_is_learned():
    truths = [True, True, False, True]
    rows = [LabelledRow([1, 2], truth) for truth in truths]
    shares = [0.5, 1.0, 1.0, 2 / 3]  # of true labels before each row
    losses = [-log(p if t else 1 - p) for p, t in zip(shares, truths, strict=True) if 0 < p < 1]
    clipped = -log(1 - 1e-15) - log(1e-15)  # of the certain answers, as River clips them
    loss = prequential_loss(training(), rows)
    assert loss == pytest.approx((sum(losses) + clipped) / 4, rel=1e-3)


def test_the_prequential_loss_is_that_of_rivers_own_progressive_validation():
    rows = [LabelledRow([float(n % 7), float(n % 3)], n % 7 > 3) for n in range(200)]
    make = lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression()  # noqa: E731
    river, total = make(), 0.0
    for row in rows:
        x = dict(zip(NAMES, row.features, strict=True))
        p = river.predict_proba_one(x)[True]
        total += -log(p if row.truth else 1 - p)
        river.learn_one(x, row.truth)
    assert prequential_loss(training(Model("v2", make())), rows) == pytest.approx(total / 200)


def test_a_model_that_cannot_score_has_no_loss():
    class Silent(Notebook):
        def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
            raise ValueError("no answer")

    assert prequential_loss(training(Model("v2", Silent())), [LabelledRow([1, 2], True)]) is None


def test_rows_before_those_that_are_scored_are_learned():
    older, newer = [LabelledRow([1, 2], True)] * 3, [LabelledRow([1, 2], False), LabelledRow([1, 2], True)]
    found = training()
    loss = prequential_loss(found, [*older, *newer], unscored=3)
    assert found.rows == 5
    assert loss == pytest.approx((-log(1e-15) - log(3 / 4)) / 2, rel=1e-3)
    assert prequential_loss(training(), older, unscored=3) is None


def test_without_a_row_there_is_no_loss():
    assert prequential_loss(training(), []) is None
