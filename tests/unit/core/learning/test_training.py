from typing import Any

from river import anomaly, compose

from flows.core.learning.training import train
from flows.core.models.model import Model, Prediction
from flows.core.models.tasks import TASKS


class Notebook:
    """An estimator that writes down what it was taught."""

    def __init__(self) -> None:
        self.lessons: list[tuple[dict[str, Any], bool]] = []

    def learn_one(self, features: dict[str, Any], truth: bool) -> None:
        if features["a"] is None:
            raise TypeError("no number")
        self.lessons.append((features, truth))


def served(*ids: str) -> list[Prediction]:
    return [Prediction(i, 0, 0.5, "v1", {}, [ord(i), i.upper()]) for i in ids]


def test_a_model_learns_the_logged_features_of_every_event_whose_truth_is_known_in_the_logs_order():
    model = train(
        Model("v2", Notebook()),
        ("a", "b"),
        served("c", "a", "b"),
        {"a": True, "c": False, "x": True},
        [].append,
    )
    assert model.estimator.lessons == [({"a": 99, "b": "C"}, False), ({"a": 97, "b": "A"}, True)]
    assert (model.version, model.learned) == ("v2", 2)


def test_an_event_that_the_model_cannot_learn_is_left_out_and_its_error_told():
    spoilt = Prediction("s", 0, 0.5, "v1", {}, [None, None])
    failures: list[Exception] = []
    truths = {"s": True, "a": True}
    model = train(Model("v2", Notebook()), ("a", "b"), [spoilt, *served("a")], truths, failures.append)
    assert model.learned == 1
    assert [str(failure) for failure in failures] == ["no number"]


def test_without_a_label_nothing_is_learned():
    assert train(Model("v2", Notebook()), ("a", "b"), served("a"), {}, [].append).learned == 0


def test_a_prediction_made_with_another_feature_plan_is_left_out():
    other = Prediction("o", 0, 0.5, "v1", {}, [1])
    model = train(
        Model("v2", Notebook()), ("a", "b"), [other, *served("a")], {"o": True, "a": True}, [].append
    )
    assert [features["a"] for features, _ in model.estimator.lessons] == [97]


def test_a_model_that_needs_no_labels_is_trained_on_every_event():
    detector = anomaly.QuantileFilter(compose.Select("a") | anomaly.LODA(seed=1), q=0.9)
    model = Model("v2", detector, task=TASKS["anomaly"])
    assert train(model, ("a", "b"), served("a", "b", "c"), {"a": True}, [].append).learned == 3
