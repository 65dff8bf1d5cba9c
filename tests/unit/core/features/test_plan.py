from dataclasses import replace
from math import inf

import orjson
import pytest

from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, Transform, View
from flows.errors import ConfigError

COUNT = Aggregate("count_1h", "count", "delay", 3_600_000)
MEAN = Aggregate("mean_delay_1h", "mean", "delay", 3_600_000)
FARE = Aggregate("total_fare_1h", "sum", "fare", 3_600_000)
ORIGIN = View("origin_departures", "origin", "departures", (COUNT, MEAN, FARE), excludes_own=True)
CARRIER = View("carrier_departures", "carrier", "departures", (MEAN,))
ARRIVALS = View("origin_arrivals", "origin", "arrivals", (FARE, COUNT))
PLAN = FeaturePlan("service", (ORIGIN, CARRIER, ARRIVALS))

CHANGES = {
    "service": replace(PLAN, service="other"),
    "order of the views": replace(PLAN, views=(CARRIER, ORIGIN, ARRIVALS)),
    "window": replace(PLAN, views=(replace(ORIGIN, aggregates=(replace(COUNT, window=1),)), CARRIER)),
    "own records": replace(PLAN, views=(replace(ORIGIN, excludes_own=False), CARRIER, ARRIVALS)),
    "stream": replace(PLAN, views=(replace(ORIGIN, stream="other"), CARRIER, ARRIVALS)),
    "key": replace(PLAN, views=(replace(ORIGIN, key="integer"), CARRIER, replace(ARRIVALS, key="integer"))),
    "column": replace(PLAN, views=(ORIGIN, replace(CARRIER, aggregates=(replace(MEAN, column="fare"),)))),
}


def test_names_are_spelled_as_feast_spells_full_names_and_stand_in_vector_order() -> None:
    assert PLAN.names == (
        "origin_departures__count_1h",
        "origin_departures__mean_delay_1h",
        "origin_departures__total_fare_1h",
        "carrier_departures__mean_delay_1h",
        "origin_arrivals__total_fare_1h",
        "origin_arrivals__count_1h",
    )


def test_entities_and_columns_are_named_once_in_order_of_first_use() -> None:
    assert PLAN.entities == ("origin", "carrier")
    assert ORIGIN.columns == ("delay", "fare")
    assert ARRIVALS.columns == ("fare", "delay")


def test_the_views_of_an_entity_keep_the_order_of_the_plan() -> None:
    assert PLAN.views_of("origin") == (ORIGIN, ARRIVALS)
    assert PLAN.views_of("nobody") == ()


def test_a_plan_survives_being_written_and_read() -> None:
    again = FeaturePlan.from_json(PLAN.to_json())
    assert again == PLAN
    assert again.hash == PLAN.hash


@pytest.mark.parametrize("found", [None, "driftline-plan/3", 7])
def test_a_plan_of_another_version_is_refused_in_one_line(found: object) -> None:
    raw = {**orjson.loads(PLAN.to_json()), "format": found}
    with pytest.raises(ConfigError) as refused:
        FeaturePlan.from_json(orjson.dumps(raw))
    got = "none (stored before Driftline 0.2.0)" if found is None else repr(str(found))
    assert str(refused.value) == (
        f"the feature plan must be of format driftline-plan/2, got {got}; run `driftline apply`"
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"format": "driftline-plan/2"}', b'{"format": "driftline-plan/2", "views": 1}'],
)
def test_a_damaged_plan_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(
        ConfigError, match=r"must be JSON as `driftline apply` writes it, .*; run `driftline apply`"
    ):
        FeaturePlan.from_json(data)


def test_the_hash_is_the_same_in_every_process_and_release() -> None:
    assert PLAN.hash == "b9497eea0962"


def test_the_kind_of_each_key_is_known_by_its_field_and_that_of_a_plan_without_is_text() -> None:
    asked = Lookup("weather", (Input("station", "number"), Input("town", "string")), (), 1)
    plan = replace(PLAN, views=(replace(CARRIER, key="integer"), ORIGIN), lookups=(asked,))
    assert plan.key_kinds == {"carrier": "integer", "origin": "text", "station": "integer", "town": "text"}
    assert plan.key_types == (int, str)
    older = orjson.loads(plan.to_json())
    for view in older["views"]:
        del view["key"]
    assert FeaturePlan.from_json(orjson.dumps(older)).key_types == (str, str)


def test_the_hash_does_not_depend_on_the_order_of_keys_in_a_file() -> None:
    shuffled = orjson.loads(PLAN.to_json())
    shuffled["views"] = [dict(reversed(view.items())) for view in shuffled["views"]]
    assert FeaturePlan.from_json(orjson.dumps(shuffled)).hash == PLAN.hash


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_changes_with_every_part_of_the_plan(change: str) -> None:
    assert CHANGES[change].hash != PLAN.hash


def test_the_windows_of_a_feature_are_full_after_the_longest_one_of_its_view_and_the_delay() -> None:
    daily = replace(MEAN, name="mean_delay_1d", window=86_400_000)
    delayed = replace(CARRIER, aggregates=(MEAN, daily), delay=7 * 86_400_000)
    stepped = replace(ARRIVALS, aggregates=(FARE,), slide=600_000)
    weather = Lookup("weather", (Input("origin", "string"),), (Output("wind", "float"),), 3_600_000)
    time, fare = Input("time", "time"), Input("fare", "number")

    def transform(fields: tuple[Input, ...], *views: str) -> Transform:
        return Transform(f"t{len(fields)}{len(views)}", "m:f", "", fields, views, (Output("x", "float"),))

    transforms = (
        transform((time,)),
        transform((time, fare)),
        transform((fare,), "origin_departures", "carrier_departures"),
        transform((time,), "weather"),
    )
    plan = FeaturePlan("service", (ORIGIN, delayed, stepped), transforms, lookups=(weather,))
    hour, eight_days = 3_600_000, 8 * 86_400_000
    views = [hour, hour, hour, eight_days, eight_days, hour + 600_000]
    assert list(plan.fills) == [*views, 0, inf, 0, eight_days, 0]
