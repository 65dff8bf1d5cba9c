"""The prequential evaluation, against River's metrics fed directly."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from river import metrics

from flows.core.broker import Record
from flows.core.evaluation import Baselines, Evaluation
from flows.core.labels import Joined, Label, Pending
from flows.core.models import Prediction

RECORD = Record("labels", 0, 0, 0, None, b"", ())
Row = tuple[float, float, float, bool]  # scores of the model, the majority and no change, then the truth


def prediction(score: float = 0.5) -> Prediction:
    return Prediction("a", 0, score, "v1", {}, [])


def rows(count: int = 400, seed: int = 1) -> list[Row]:
    rng = random.Random(seed)
    scores = [0.0, 0.5, 1.0]
    return [
        (rng.choice([*scores, rng.random()]), rng.random(), float(rng.random() < 0.5), rng.random() < 0.3)
        for _ in range(count)
    ]


def evaluated(make: Callable[[], Any], observed: list[Row]) -> Evaluation:
    evaluation = Evaluation(make)
    for score, majority, no_change, truth in observed:
        pending = Pending(prediction(score), majority, no_change)
        evaluation.update(Joined(pending, Label("a", 0, truth, RECORD)))
    return evaluation


METRICS: dict[str, Callable[[], Any]] = {
    "ROCAUC": lambda: metrics.ROCAUC(n_thresholds=20),
    "LogLoss": metrics.LogLoss,
    "CrossEntropy": metrics.CrossEntropy,
    "Accuracy": metrics.Accuracy,
    "F1": metrics.F1,
    "CohenKappa": metrics.CohenKappa,
    "MCC": metrics.MCC,
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_what_was_served_is_the_one_that_river_computes(name):
    observed = rows()
    values = evaluated(METRICS[name], observed).values()
    assert list(values) == ["model", "majority", "no-change"]
    for column, predictor in enumerate(values):
        metric = METRICS[name]()
        for row in observed:
            score, truth = row[column], row[3]
            # a classifier of River answers False first, and so it does where both are as likely
            probabilities = {False: 1 - score, True: score}
            label = max(probabilities, key=probabilities.__getitem__)
            metric.update(truth, label if metric.requires_labels else probabilities)
        assert values[predictor] == {name: metric.get()}


def test_several_metrics_are_joined_by_a_plus_sign_and_each_is_judged_as_it_would_be_alone():
    observed = rows()
    joined = evaluated(lambda: metrics.ROCAUC() + metrics.LogLoss() + metrics.Accuracy(), observed).values()
    labels_only = evaluated(lambda: metrics.Accuracy() + metrics.F1(), observed).values()
    for name, make in (("LogLoss", metrics.LogLoss), ("Accuracy", metrics.Accuracy)):
        alone = evaluated(make, observed).values()
        assert {p: values[name] for p, values in joined.items()} == {p: v[name] for p, v in alone.items()}
    assert {p: v["F1"] for p, v in labels_only.items()} == {
        p: v["F1"] for p, v in evaluated(metrics.F1, observed).values().items()
    }
    assert list(joined["model"]) == ["ROCAUC", "LogLoss", "Accuracy"]


def test_the_labels_are_counted():
    assert evaluated(metrics.LogLoss, []).labels == 0
    assert evaluated(metrics.LogLoss, rows(17)).labels == 17


def test_the_baselines_begin_undecided():
    pending = Baselines().beside(prediction())
    assert (pending.majority, pending.no_change) == (0.5, 0.0)


def test_the_majority_baseline_answers_with_the_share_of_true_labels_so_far_and_no_change_with_the_last():
    rng = random.Random(5)
    baselines, truths = Baselines(), []
    for _ in range(200):
        truth = rng.random() < 0.3
        baselines.learn(truth)
        truths.append(truth)
        pending = baselines.beside(prediction())
        assert pending.majority == sum(truths) / len(truths)
        assert pending.no_change == float(truths[-1])


def test_what_a_baseline_said_beside_a_prediction_stays_whatever_it_learns_later():
    baselines = Baselines()
    baselines.learn(True)
    pending = baselines.beside(prediction(0.7))
    baselines.learn(False)
    assert pending == Pending(prediction(0.7), 1.0, 1.0)
