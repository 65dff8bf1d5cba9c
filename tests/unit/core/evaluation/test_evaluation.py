"""The prequential evaluation, compared with River's metrics."""

import random
from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import orjson
import pytest
from river import metrics

from flows.core.evaluation.costs import Costs
from flows.core.evaluation.evaluation import BLOCK, KEPT, PREDICTORS, Baselines, Evaluation
from flows.core.evaluation.label_join import Joined, Label, Pending
from flows.core.models.model import Prediction
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import TASKS
from flows.core.stream.broker import Record

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


def test_a_class_that_an_answer_leaves_out_has_probability_0_clipped_as_river_clips_it():
    """For the model and both baselines, in the cumulative and the rolling metrics."""
    task = TASKS["multiclass"]
    evaluation = Evaluation(task.metrics, task)
    baselines = Baselines(task)
    for truth in "abc":
        asked = Prediction("a", 0, {"a": 0.75, "b": 0.25}, "v1", {}, [])
        evaluation.update(Joined(baselines.pending(asked), Label("a", 0, truth, RECORD)))
        baselines.learn(truth)
    never = -log(1e-15)
    expected = {
        "model": (-log(0.75) - log(0.25) + never) / 3,
        "majority": (never + never) / 2,  # none before the first label, then {a: 1} and {a: 1/2, b: 1/2}
        "no-change": (never + never) / 2,
    }
    for values in (evaluation.values(), evaluation.recent(), evaluation.assessment()["period"]["metrics"]):
        assert {p: v["CrossEntropy"] for p, v in values.items()} == pytest.approx(expected)
        assert {p: v["Accuracy"] for p, v in values.items()} == pytest.approx(
            {"model": 1 / 3, "majority": 0.0, "no-change": 0.0}
        )
    assert task.loss({"a": 1.0}, "b") == pytest.approx(never)


def test_the_labels_are_counted():
    assert evaluated(metrics.LogLoss, []).labels == 0
    assert evaluated(metrics.LogLoss, rows(17)).labels == 17


def test_the_baselines_begin_undecided():
    pending = Baselines().pending(prediction())
    assert (pending.majority, pending.no_change) == (0.5, 0.0)


def test_the_majority_baseline_answers_with_the_share_of_true_labels_so_far_and_no_change_with_the_last():
    rng = random.Random(5)
    baselines, truths = Baselines(), []
    for _ in range(200):
        truth = rng.random() < 0.3
        baselines.learn(truth)
        truths.append(truth)
        pending = baselines.pending(prediction())
        assert pending.majority == sum(truths) / len(truths)
        assert pending.no_change == float(truths[-1])


def test_what_a_baseline_said_beside_a_prediction_stays_whatever_it_learns_later():
    baselines = Baselines()
    baselines.learn(True)
    pending = baselines.pending(prediction(0.7))
    baselines.learn(False)
    assert pending == Pending(prediction(0.7), 1.0, 1.0)


MINUTE = 60_000
COUNTRIES = ("A", "B")


def assessed(observed: list[Row], task: str = "binary", **declared: Any) -> Evaluation:
    """Assess a label a minute; the events alternate between two countries."""
    evaluation = Evaluation(TASKS[task].metrics, TASKS[task], **declared)
    for n, row in enumerate(observed):
        add(evaluation, n, row)
    return evaluation


def add(evaluation: Evaluation, n: int, row: Row) -> None:
    score, majority, no_change, truth = row
    served = Prediction("a", 0, score, "v1", {}, [0, COUNTRIES[n % 2]])
    pending = Pending(served, majority, no_change)
    evaluation.update(Joined(pending, Label("a", n * MINUTE, truth, RECORD)))


def test_the_last_labels_are_measured_as_if_there_had_been_no_others():
    observed = rows(KEPT + 500)
    recent = assessed(observed).assessment()["recent"]
    assert recent == {"labels": 1000, "metrics": assessed(observed[-1000:]).values()}


def test_the_last_day_is_measured_by_itself_and_says_when_labels_of_it_were_dropped():
    observed = rows(KEPT + 500)
    assert assessed(observed).assessment()["period"] == {
        "labels": 1440,
        "whole": True,
        "metrics": assessed(observed[-1440:]).values(),
    }
    crowded = Evaluation(metrics.Accuracy)
    for n in range(KEPT + 1):
        crowded.update(Joined(Pending(prediction(), 0.5, 0.0), Label("a", n, True, RECORD)))
    period = crowded.assessment()["period"]
    assert (period["labels"], period["whole"]) == (KEPT, False)


def test_the_error_rate_and_the_brier_score_have_their_skill_against_both_baselines():
    observed = rows()
    losses = assessed(observed).assessment()["losses"]
    table, truths = np.array(observed, dtype=float)[:, :3], np.array([row[3] for row in observed])
    errors = ((table > 0.5) != truths[:, None]).mean(axis=0)
    squares = ((table - truths[:, None]) ** 2).mean(axis=0)
    for name, expected in (("error_rate", errors), ("brier_score", squares)):
        assert losses[name]["mean"] == pytest.approx(dict(zip(PREDICTORS, expected, strict=True)))
        assert losses[name]["skill"] == pytest.approx(
            {"majority": 1 - expected[0] / expected[1], "no-change": 1 - expected[0] / expected[2]}
        )
    weights = 0.999 ** np.arange(len(observed) - 1, -1, -1)
    fading = (weights[:, None] * ((table > 0.5) != truths[:, None])).sum(axis=0) / weights.sum()
    assert losses["error_rate"]["fading"] == pytest.approx(dict(zip(PREDICTORS, fading, strict=True)))


def test_calibration_slices_and_costs_are_those_of_the_served_scores():
    observed = rows(1000)
    assessment = assessed(observed, slices={"country": 1}, costs=Costs(1, 4)).assessment()
    brier = np.mean([(row[0] - row[3]) ** 2 for row in observed])
    assert assessment["calibration"]["brier"]["score"] == pytest.approx(brier)
    assert sum(row["labels"] for row in assessment["calibration"]["bins"]) == 1000
    groups = {row["value"]: row for row in assessment["slices"]["country"]["groups"]}
    for n, country in enumerate(COUNTRIES):
        own = observed[n::2]
        assert groups[country]["labels"] == 500
        assert groups[country]["error"] == np.mean([(row[0] > 0.5) != row[3] for row in own])
    cost = np.mean([4 * row[3] if row[0] <= 0.5 else not row[3] for row in observed])
    assert assessment["costs"]["half"] == {"threshold": 0.5, "cost": pytest.approx(cost)}


def test_a_prediction_with_the_features_of_another_plan_is_in_no_slice():
    evaluation = Evaluation(metrics.Accuracy, slices={"country": 1})
    served = prediction()._replace(features=[0])
    evaluation.update(Joined(Pending(served, 0.5, 0.0), Label("a", 0, True, RECORD)))
    assert evaluation.assessment()["slices"]["country"]["groups"] == []


TRUTHS = {"multiclass": "a", "regression": 1.5, "anomaly": True}
SCORES: dict[str, Any] = {
    "multiclass": {"a": 0.4, "b": 0.6},
    "regression": 1.0,
    "anomaly": {"score": 0.3, "anomaly": 0.0},
}
LOSSES = {
    "multiclass": {"error_rate": 1.0},
    "regression": {"absolute_error": 0.5, "squared_error": 0.25},
    "anomaly": {"error_rate": 1.0},
}


@pytest.mark.parametrize("task", TRUTHS)
def test_other_tasks_have_losses_of_their_own_and_no_calibration_slices_or_costs(task):
    evaluation = Evaluation(TASKS[task].metrics, TASKS[task])
    baselines = Baselines(TASKS[task])
    served = prediction()._replace(score=SCORES[task])
    evaluation.update(Joined(baselines.pending(served), Label("a", 0, TRUTHS[task], RECORD)))
    assessment = evaluation.assessment()
    assert {name: of["mean"]["model"] for name, of in assessment["losses"].items()} == LOSSES[task]
    assert (assessment["calibration"], assessment["slices"], assessment["costs"]) == (None, {}, None)


def test_an_assessment_is_ready_for_json_also_before_the_first_label():
    for evaluation in (
        assessed([]),
        assessed(rows(3), slices={"country": 1}, costs=Costs(1, 1)),
        assessed([], slices={"country": 1}, costs=Costs(1, 1)),
    ):
        assert b"NaN" not in orjson.dumps(evaluation.assessment())


@pytest.mark.parametrize("name", ["values", "recent", "assessment"])
def test_reading_and_storing_change_neither_the_results_nor_the_stored_state(name):
    """A block of labels is evaluated early when something is read."""
    sealer, observed = Sealer(b"s" * 32), rows(BLOCK + 250)
    read = assessed([], slices={"country": 1}, costs=Costs(1, 4))
    for n, row in enumerate(observed):
        add(read, n, row)
        if n % 41 == 0:
            getattr(read, name)()
        if n % 97 == 0:
            sealer.seal_state(read)
    unread = assessed(observed, slices={"country": 1}, costs=Costs(1, 4))
    stored = [sealer.open_state(sealer.seal_state(each)) for each in (read, unread)]
    assert len({orjson.dumps([each.values(), each.assessment()]) for each in (read, unread, *stored)}) == 1


def test_calibration_and_slices_are_those_of_all_labels_at_any_time():
    evaluation = assessed(rows(3), slices={"country": 1})
    assert evaluation.calibration.labels == 3
    add(evaluation, 3, rows(1)[0])
    assert evaluation.calibration.labels == 4
    assert sum(row.labels for row in evaluation.slices.rates("country")) == 4


def test_an_evaluation_goes_on_from_its_snapshot_as_if_nothing_had_been():
    sealer, observed = Sealer(b"s" * 32), rows(300)
    declared = {"slices": {"country": 1}, "costs": Costs(1, 4)}
    resumed = sealer.open_state(sealer.seal_state(assessed(observed[:200], **declared)))
    straight = assessed(observed, **declared)
    for n, row in enumerate(observed[200:], 200):
        add(resumed, n, row)
    assert orjson.dumps(resumed.assessment()) == orjson.dumps(straight.assessment())
