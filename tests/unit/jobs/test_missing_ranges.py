"""The numbers without a declared range that a model depends on."""

from typing import Any

from river import linear_model

from flows.core.features.plan import Aggregate, FeaturePlan, Input, Output, Transform, View
from flows.core.stream.fields import Flag, Number, Text, Time
from flows.jobs.missing_ranges import missing_ranges, missing_ranges_warning
from flows.pipeline import Pipeline, Stream

KEYS: dict[str, Any] = {"id": Text(), "at": Time(), "shop": Text()}
FREE: dict[str, Any] = {
    "amount": Number(),
    "low": Number(low=0),
    "high": Number(high=9),
    "both": Number(0, 9),
    "fee": Number(),
    "unread": Number(),
}
HOUR = 3_600_000


def pipeline(**changes: Any) -> Pipeline:
    declared: dict[str, Any] = {
        "name": "shop",
        "events": Stream("sales", "id", "at", {**KEYS, **FREE}),
        "labels": Stream("frauds", "id", "at", {**KEYS, "fraud": Flag(), "loss": Number()}),
        "sources": (Stream("visits", "id", "at", {**KEYS, **FREE}),),
        "target": "fraud",
        "entities": ("shop",),
        "service": "shop",
        "model": linear_model.LogisticRegression,
        "inputs": ("amount", "low", "high", "both", "shop"),
    }
    return Pipeline(**declared | changes)


def view(*columns: tuple[str, str]) -> View:
    return View("v", "shop", "visits", tuple(Aggregate(f"{f}_{c}", f, c, HOUR) for f, c in columns))


def test_inputs_columns_that_are_aggregated_and_the_fields_of_transforms_are_looked_at() -> None:
    mean, count = ("mean", "fee"), ("count_distinct", "unread")
    ratio = Transform("ratio", "m:f", "hash", (Input("fee", "number"),), (), (Output("r", "float"),))
    plan = FeaturePlan("shop", (view(mean, count),), transforms=(ratio,))
    assert missing_ranges(pipeline(), plan) == [
        "sales.amount",
        "sales.low",
        "sales.high",
        "sales.fee",
        "visits.fee",
    ]


def test_the_target_of_a_regression_is_looked_at() -> None:
    regression = pipeline(
        task="regression", target="loss", inputs=("both",), model=linear_model.LinearRegression
    )
    assert missing_ranges(regression, FeaturePlan("shop", ())) == ["frauds.loss"]


def test_where_each_has_a_range_there_is_no_warning() -> None:
    assert missing_ranges_warning(pipeline(inputs=("both", "shop")), FeaturePlan("shop", ())) is None
