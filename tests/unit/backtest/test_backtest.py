"""The backtest equals River's progressive validation with the same features and delays, digit by digit."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from progressive import DAY, HOUR, Run, by_river
from real_flights import scheduled
from river import evaluate, linear_model, metrics, preprocessing

from flows.backtest.backtest import questions
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, View
from flows.core.stream.broker import Outgoing
from flows.core.stream.fields import Flag, Number, Text, Time
from flows.errors import ConfigError
from flows.pipeline import Pipeline, Stream
from flows.pipelines import flight_delays, flights_data

START = 1_357_000_000_000


def flights_plan() -> FeaturePlan:
    """What the shipped feature repository compiles to, which a test of that says; Feast takes seconds."""
    windows = {"1h": HOUR, "3h": 3 * HOUR, "24h": DAY}
    delays = tuple(
        Aggregate(f"{function}_{name}", kind, column, length)
        for name, length in windows.items()
        for function, kind, column in (
            ("count", "count", ""),
            ("mean_delay", "mean", "delay"),
            ("max_delay", "max", "delay"),
        )
    )
    keys = {"origin": "origin", "carrier": "carrier", "route": "route", "aircraft": "tail_number"}
    return FeaturePlan(
        "flight_delays",
        tuple(
            View(f"{entity}_{topic}", key, topic, delays, excludes_own=True)
            for entity, key in keys.items()
            for topic in ("departures", "arrivals")
        ),
    )


@pytest.fixture(scope="module")
def flights() -> list[Outgoing]:
    try:
        return list(flights_data.dataset(scheduled()[:4000]))
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def flights_run(flights: list[Outgoing]) -> Run:
    return Run(flight_delays.pipeline, flights_plan()).over(flights)


def test_on_the_flights_it_equals_rivers_progressive_validation_to_the_last_digit(flights, flights_run):
    rows = flights_run.dataset(flights, flight_delays.pipeline.labels, "late")
    metric = metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss()
    metric, predictions = by_river(rows, flight_delays.model(), metric, delayed=True)
    assert flights_run.values == {"ROCAUC": metric[0].get(), "LogLoss": metric[1].get()}
    known = sorted(
        range(len(rows)), key=lambda i: rows[i].x["_time"] + rows[i].x["_delay"]
    )  # stable: labels of one moment in the order of their events
    assert [flights_run.predictions[i].score for i in known] == [answer[True] for answer in predictions]
    assert len(predictions) == 4000


def test_progressive_val_score_itself_says_the_same(flights, flights_run):
    rows = flights_run.dataset(flights, flight_delays.pipeline.labels, "late")
    metric = evaluate.progressive_val_score(
        rows,
        flight_delays.model(),
        metrics.LogLoss(),
        moment=lambda x: datetime.fromtimestamp(x["_time"] / 1000, UTC),
        delay=lambda x, _: timedelta(milliseconds=x["_delay"]),
    )
    assert flights_run.values["LogLoss"] == metric.get()


def test_the_flights_have_many_labels_of_one_moment_so_that_their_order_is_tested(flights):
    times = [r.timestamp for r in flights if r.topic == "flight_labels"]
    assert len(times) - len(set(times)) > 1000


def test_every_flight_is_answered_once_and_every_label_joined(flights, flights_run):
    learner = flights_run.test.learner
    assert len(flights_run.test.served) == len(flights_run.predictions) == 4000
    assert sum(progress.records for progress in flights_run.progress) == len(flights)
    assert sum(progress.events for progress in flights_run.progress) == 4000
    assert sum(len(progress.dead) for progress in flights_run.progress) == 0
    assert (learner.evaluation.labels, learner.champion.learned) == (4000, 4000)
    assert (learner.pending, learner.expired) == (0, 0)
    assert flights_run.test.served == {p.id: p.score for p in flights_run.predictions}


def test_the_same_records_give_the_same_scores_again(flights, flights_run):
    part = flights[:3000]
    first = Run(flight_delays.pipeline, flights_plan()).over(part)
    again = Run(flight_delays.pipeline, flights_plan()).over(part)
    assert first.predictions == again.predictions == flights_run.predictions[: len(first.predictions)]


SHOP_PLAN = FeaturePlan(
    "shop",
    (
        View(
            "customer_sales",
            "customer",
            "sales",
            (Aggregate("count_1h", "count", "", HOUR), Aggregate("sum_1h", "sum", "price", HOUR)),
            excludes_own=True,
        ),
    ),
)
SALE = {"id": Text(), "at": Time(), "customer": Text(), "price": Number()}


def shop(model: Any, **changes: Any) -> Pipeline:
    declared = {
        "name": "shop",
        "events": Stream("checkouts", "id", "at", SALE),
        "labels": Stream("frauds", "id", "at", {"id": Text(), "at": Time(), "fraud": Flag()}),
        "sources": (Stream("sales", "id", "at", SALE),),
        "target": "fraud",
        "entities": ("customer",),
        "service": "shop",
        "model": model,
        "inputs": ("price",),
        "metrics": lambda: metrics.LogLoss() + metrics.ROCAUC() + metrics.Accuracy(),
    }
    return Pipeline(**declared | changes)


def record(topic: str, time: int, **payload: Any) -> Outgoing:
    return Outgoing(topic, orjson.dumps({"at": time, **payload}), payload["id"].encode(), timestamp=time)


def sales(count: int, delays: tuple[int, ...], label_first: bool = False) -> list[Outgoing]:
    """Sales and their checkouts, several at one moment; the label of each comes after one of `delays`."""
    rows = []
    for number in range(count):
        time = START + number // 3 * 1000
        sale = {"id": f"s{number}", "customer": "abc"[number % 3], "price": float(number * 37 % 101)}
        truth = (number * 37 % 101 > 60) != (number % 11 == 0)
        label = record("frauds", time + delays[number % len(delays)], id=sale["id"], fraud=truth)
        pair = [record("checkouts", time, **sale), label]
        rows += [record("sales", time, **sale), *(reversed(pair) if label_first else pair)]
    return sorted(rows, key=lambda r: r.timestamp or 0)


def logistic() -> Any:
    return _served | preprocessing.StandardScaler() | linear_model.LogisticRegression()


def _served(x: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in x.items() if not name.startswith("_")}


def compared(records: list[Outgoing], model: Any, delayed: bool) -> None:
    pipeline = shop(model)
    run = Run(pipeline, SHOP_PLAN).over(records)
    rows = run.dataset(records, pipeline.labels, pipeline.target)
    metric, predictions = by_river(rows, model(), pipeline.metrics(), delayed)
    assert run.values == {type(m).__name__: m.get() for m in metric}
    known = sorted(range(len(rows)), key=lambda i: rows[i].x["_time"] + rows[i].x["_delay"])
    assert [run.predictions[i].score for i in known] == [answer[True] for answer in predictions]
    assert len(predictions) == len(rows) == 3000


@pytest.mark.parametrize("label_first", [False, True])
def test_without_a_delay_it_equals_rivers_plain_test_then_train(label_first):
    """Each label is known at its event's own time, and stands right after the event or right before it."""
    compared(sales(3000, delays=(0,), label_first=label_first), logistic, delayed=False)


@pytest.mark.parametrize(
    "delays", [(0,), (1000,), (1000, 1000, 0, 5000), (90_000, 500, 1000, 999, 1001, 0), (10**7, 0)]
)
def test_labels_that_overtake_one_another_are_learned_in_the_order_in_which_they_are_known(delays):
    """At one moment the labels of earlier events come before the event, as River reveals them."""
    records = sales(3000, delays)
    rank = {"sales": 0, "frauds": 1, "checkouts": 2}
    records.sort(key=lambda r: (r.timestamp, rank[r.topic]))
    compared(records, logistic, delayed=True)


class Broken:
    """A model that cannot score dear things."""

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        if features["price"] > 90:
            raise ValueError("too dear")
        return {True: 0.5}

    def learn_one(self, features: dict[str, Any], truth: bool) -> None:
        pass


def test_bad_records_and_events_that_the_model_cannot_score_are_counted_and_the_rest_goes_on():
    records = sales(300, delays=(5000,))
    good = sum(orjson.loads(r.value).get("price", 0) <= 90 for r in records if r.topic == "checkouts")
    bad = [
        Outgoing("checkouts", b"{", timestamp=START),
        Outgoing("frauds", b'{"id": "s1", "at": "2013-01-01T00:26:40Z", "fraud": "yes"}', timestamp=START),
        Outgoing("sales", b"null", timestamp=START),
        records[1],  # the sale's own id again
    ]
    run = Run(shop(Broken), SHOP_PLAN).over([*records, *bad])
    assert records[1].topic == "checkouts"
    assert len(run.test.served) == good < 300
    assert run.test.learner.evaluation.labels == good
    dead = [each for step in run.progress for each in step.dead]
    assert Counter(each.reason for each in dead) == {
        "model": 300 - good,
        "not-json": 1,
        "schema": 2,
        "duplicate": 1,
    }
    places = {each.reason: (each.topic, each.partition, each.offset) for each in reversed(dead)}
    dear = [orjson.loads(r.value)["price"] > 90 for r in records if r.topic == "checkouts"]
    assert places["model"] == ("checkouts", 0, dear.index(True))
    assert places["not-json"] == ("checkouts", 0, 300)
    assert [str(error) for step in run.progress for error in step.errors] == ["too dear"] * (300 - good)


@pytest.mark.parametrize("step", [1, 7, 1500, 5000])
def test_how_records_are_cut_into_steps_changes_nothing_but_the_reports(step):
    records = [*sales(1200, delays=(5000,)), Outgoing("checkouts", b"{", timestamp=START)]
    whole, cut = Run(shop(Broken), SHOP_PLAN).over(records), Run(shop(Broken), SHOP_PLAN)
    progress = list(cut.test.run(records, step))
    assert cut.predictions == whole.predictions
    assert cut.values == whole.values
    assert [each.records for each in progress[:-1]] == [step] * (len(progress) - 1)
    assert sum(each.records for each in progress) == len(records)
    events = [each.events for each in progress]
    assert sum(events) == 1200
    assert all(event <= each.records for event, each in zip(events, progress, strict=True))
    reasons = [Counter(d.reason for each in steps for d in each.dead) for steps in (progress, whole.progress)]
    assert reasons[0] == reasons[1]


def test_a_label_for_no_event_is_a_dead_letter_when_the_wait_is_over():
    records = [
        record("frauds", START, id="nobody", fraud=True),
        record("checkouts", START + 2000, id="a", customer="a", price=1.0),
    ]
    run = Run(shop(logistic), SHOP_PLAN, label_wait=1000).over(records)
    assert [[each.reason for each in p.dead] for p in run.progress] == [["unknown-event"]]


def test_every_valid_event_is_asked_for_in_the_tables_and_gets_what_was_found():
    age = Lookup("customers", (Input("customer", "string"),), (Output("age", "int"),), HOUR)
    plan = replace(SHOP_PLAN, lookups=(age,))
    records = [Outgoing("checkouts", b"{", timestamp=START), *sales(3000, delays=(0,))]
    asked = list(questions(shop(logistic), records))
    assert [question.id for question in asked] == [f"s{number}" for number in range(3000)]
    looked_up = {(question.id, question.time): [number] for number, question in enumerate(asked)}
    run = Run(shop(logistic), plan, looked_up).over(records)
    assert [p.features[-1] for p in run.predictions] == list(range(3000))
    assert run.names[-1] == "customers__age"


def test_drift_in_the_backtest_is_reported_with_its_batch():
    records = sales(6000, delays=(0,))
    late = START + 1_000_000
    turned = [
        r._replace(value=orjson.dumps(orjson.loads(r.value) | {"fraud": not orjson.loads(r.value)["fraud"]}))
        if r.topic == "frauds" and (r.timestamp or 0) > late
        else r
        for r in records
    ]
    calm = Run(shop(logistic), SHOP_PLAN).over(records)
    shaken = Run(shop(logistic), SHOP_PLAN).over(turned)
    assert [signal for p in calm.progress for signal in p.signals] == []
    (signal, *_) = [signal for p in shaken.progress for signal in p.signals]
    assert late < signal.time < late + 300_000
