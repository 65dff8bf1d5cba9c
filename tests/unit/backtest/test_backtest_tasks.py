"""For each task the backtest equals River's progressive validation, on every data set that River ships.

River's other data sets (Elec2, CreditCard, Insects and more) are downloaded, which a test must not do; those
with several targets (SolarFlare, Yeast) fit none of the tasks.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from math import log
from typing import Any, NamedTuple

import orjson
import pytest
from progressive import Run, Served, by_river
from river import (
    anomaly,
    base,
    datasets,
    linear_model,
    metrics,
    naive_bayes,
    optim,
    preprocessing,
    tree,
)

from flows.core.features.plan import FeaturePlan
from flows.core.models.tasks import TASKS
from flows.core.stream.broker import Outgoing
from flows.core.stream.fields import Field, Flag, Number, Text, Time
from flows.pipeline import Pipeline, Stream

START = 1_357_000_000_000
NONE = FeaturePlan("none", ())  # all features are fields of the events
SECOND = 1000
# some labels overtake others, some come with their own event or with a later one
DELAYS = (90 * SECOND, 500, SECOND, 999, 1001, 0, 7 * SECOND)
TARGET: dict[str, Field] = {"binary": Flag(), "multiclass": Text(), "regression": Number(), "anomaly": Flag()}


def served(x: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features without River's times."""
    return {name: value for name, value in x.items() if not name.startswith("_")}


def scaled(model: Any) -> Any:
    return served | preprocessing.StandardScaler() | model


BINARY = {
    "LogisticRegression": lambda: scaled(linear_model.LogisticRegression()),
    "ALMA": lambda: scaled(linear_model.ALMAClassifier()),
    "HoeffdingTree": lambda: scaled(tree.HoeffdingTreeClassifier(grace_period=50)),
}
MULTICLASS = {
    "SoftmaxRegression": lambda: scaled(linear_model.SoftmaxRegression()),
    "GaussianNB": lambda: scaled(naive_bayes.GaussianNB()),
    "HoeffdingTree": lambda: scaled(tree.HoeffdingTreeClassifier(grace_period=50)),
}
REGRESSION = {
    "LinearRegression": lambda: scaled(linear_model.LinearRegression(optim.SGD(0.001))),
    "HoeffdingTree": lambda: scaled(tree.HoeffdingTreeRegressor(grace_period=50)),
    "PassiveAggressive": lambda: scaled(linear_model.PARegressor()),
}
ANOMALY = {
    "HalfSpaceTrees": lambda: filtered(
        preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=5, window_size=50, seed=1)
    ),
    "OneClassSVM": lambda: filtered(preprocessing.StandardScaler() | anomaly.OneClassSVM(nu=0.2)),
    "LODA": lambda: filtered(preprocessing.StandardScaler() | anomaly.LODA(seed=1)),
}


def filtered(detector: Any) -> Any:
    return anomaly.QuantileFilter(served | detector, q=0.9)


class Rows(NamedTuple):
    """A data set of River and its task; `take` bounds the large ones."""

    make: Callable[[], Any]
    task: str
    take: int = 1250


MODELS = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION, "anomaly": ANOMALY}
DATASETS = {
    "Phishing": Rows(datasets.Phishing, "binary"),
    "Bananas": Rows(datasets.Bananas, "binary", 800),
    "Shuttle": Rows(datasets.Shuttle, "binary", 800),
    "ImageSegments": Rows(datasets.ImageSegments, "multiclass", 600),
    "TrumpApproval": Rows(datasets.TrumpApproval, "regression"),
    "ChickWeights": Rows(datasets.ChickWeights, "regression"),
    "WaterFlow": Rows(datasets.WaterFlow, "regression", 600),
    "AirlinePassengers": Rows(datasets.AirlinePassengers, "regression"),
    "SP500Stocks": Rows(datasets.SP500Stocks, "regression", 600),
    "Shuttle, strange": Rows(datasets.Shuttle, "anomaly", 600),
}
CASES = [(dataset, model) for dataset, rows in DATASETS.items() for model in MODELS[rows.task]]


def plain(x: Mapping[str, Any]) -> dict[str, Any]:
    """Features that JSON has: of a moment its month, day of the month and hour."""
    features: dict[str, Any] = {}
    for name, value in x.items():
        if isinstance(value, datetime):
            features |= {"month": value.month, "day": value.day, "hour": value.hour}
        else:
            features[name] = value
    return features


def rows_of(dataset: str, delays: tuple[int, ...]) -> list[Served]:
    """An event each second, and its label after one of the delays (ms)."""
    made = DATASETS[dataset]
    truth = bool if made.task in ("binary", "anomaly") else lambda y: y
    return [
        Served({**plain(x), "_time": START + n * SECOND, "_delay": delays[n % len(delays)]}, truth(y))
        for n, (x, y) in enumerate(made.make().take(made.take))
    ]


def records(rows: list[Served]) -> list[Outgoing]:
    """The same on topics; at one moment labels come first, as in River, but for the event's own."""
    out = []
    for number, (x, truth) in enumerate(rows):
        time, known = x["_time"], x["_time"] + x["_delay"]
        event = {"id": str(number), "at": time, **served(x)}
        label = {"id": str(number), "at": known, "truth": truth}
        out.append(((time, 1, number), Outgoing("events", orjson.dumps(event), timestamp=time)))
        rank = 2 if known == time else 0
        out.append(((known, rank, number), Outgoing("labels", orjson.dumps(label), timestamp=known)))
    return [record for _, record in sorted(out, key=lambda each: each[0])]


def pipeline_of(task: str, names: list[str], model: Callable[[], Any]) -> Pipeline:
    fields: dict[str, Field] = {"id": Text(), "at": Time()}
    return Pipeline(
        name="rows",
        task=task,  # type: ignore[arg-type]
        events=Stream("events", "id", "at", {**fields, **{name: Number() for name in names}}),
        labels=Stream("labels", "id", "at", {**fields, "truth": TARGET[task]}),
        target="truth",
        entities=(),
        service="none",
        inputs=tuple(names),
        model=model,
    )


class Decided(base.Classifier):
    """A classifier as the engine serves it: 0.5 where it gives no probabilities, before the first label."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def learn_one(self, x: Any, y: Any) -> None:
        self.model.learn_one(x, y)

    def predict_proba_one(self, x: Any) -> dict[bool, float]:
        probabilities = self.model.predict_proba_one(x)
        return {False: 0.0, True: 0.0, **probabilities} if probabilities else {False: 0.5, True: 0.5}


def compared(dataset: str, model: str, delays: tuple[int, ...], delayed: bool) -> None:
    """Each answer and the metrics are River's, in which a filter answers with its flag."""
    task, rows = DATASETS[dataset].task, rows_of(dataset, delays)
    run = Run(pipeline_of(task, list(served(rows[0].x)), MODELS[task][model]), NONE).over(records(rows))
    order = list(range(len(rows)))
    if delayed:
        order.sort(key=lambda n: rows[n].x["_time"] + rows[n].x["_delay"])
    values, answers = rivers(task, rows, MODELS[task][model](), delayed)
    assert run.values == values
    assert [seen(task, run.predictions[n].score) for n in order] == answers
    assert len(answers) == len(rows) == run.test.learner.champion.learned
    assert sum(len(progress.dead) for progress in run.progress) == 0


class CrossEntropy(metrics.CrossEntropy):
    """River's, given the true class with probability 0 where the answer leaves it out, which is free there.

    A metric that is not told of such a class cannot charge for it; all else stays as River has it.
    """

    def update(self, y_true: str, y_pred: dict[str, float], w: float = 1.0) -> None:
        super().update(y_true, {y_true: 0.0, **y_pred}, w)


def rivers(task: str, rows: list[Served], model: Any, delayed: bool) -> tuple[dict[str, float], list[Any]]:
    metric = TASKS[task].metrics()
    if task == "multiclass":
        metric = metrics.Accuracy() + metrics.MacroF1() + CrossEntropy()
    if task != "anomaly":
        judged = Decided(model) if task == "binary" else model
        metric, answers = by_river(rows, judged, metric, delayed)
        answers = [answer[True] if task == "binary" else answer for answer in answers]
    else:  # River gives no other metric to a filter, though the others would take its flag
        _, answers = by_river(rows, model, metrics.ROCAUC(), delayed)
        for row, flag in zip(rows, answers, strict=True):
            metric.update(row.truth, flag)
    return {type(part).__name__: part.get() for part in metric}, answers


def seen(task: str, score: Any) -> Any:
    return score["anomaly"] == 1.0 if task == "anomaly" else score


@pytest.mark.parametrize(("dataset", "model"), CASES)
def test_without_a_delay_it_equals_rivers_progressive_validation(dataset, model):
    compared(dataset, model, delays=(0,), delayed=False)


@pytest.mark.parametrize(("dataset", "model"), [c for c in CASES if DATASETS[c[0]].task != "anomaly"])
def test_with_delays_it_equals_rivers_progressive_validation_with_the_same_delays(dataset, model):
    compared(dataset, model, delays=DELAYS, delayed=True)


def test_rivers_own_cross_entropy_is_lower_since_a_class_that_the_answer_leaves_out_costs_nothing_there():
    rows, model = rows_of("ImageSegments", (0,)), MULTICLASS["SoftmaxRegression"]
    by_itself, answers = by_river(rows, model(), metrics.CrossEntropy(), False)
    left_out = sum(
        bool(answer) and row.truth not in answer for row, answer in zip(rows, answers, strict=True)
    )
    values, _ = rivers("multiclass", rows, model(), False)
    judged = sum(map(bool, answers))
    assert left_out == 6  # the first one of each class but one
    assert (values["CrossEntropy"] - by_itself.get()) * judged == pytest.approx(left_out * -log(1e-15))


@pytest.mark.parametrize("model", ANOMALY)
def test_a_detector_of_anomalies_learns_each_event_at_once_however_late_its_label_is(model):
    compared("Shuttle, strange", model, delays=DELAYS, delayed=False)
