"""Key types in the pipeline and in Feast must agree."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from river import linear_model

from flows.core.features.batch import EntityKey, Splitter, Update
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, Transform, View
from flows.core.stream.broker import Record
from flows.core.stream.fields import Field, Flag, Key, Number, Text, Time
from flows.errors import ConfigError, InvalidRecord
from flows.pipeline import Pipeline, Stream
from flows.runtime.validation import check_plan

NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z


def view(kind: Any, *aggregates: Aggregate) -> View:
    return View("sales", "shop", "tills", aggregates or (Aggregate("n", "count", "", 1, "int"),), key=kind)


def check(shop: Field, plan: FeaturePlan, **fields: Field) -> None:
    """Check a declaration whose events and source have this key."""
    declared = {"id": Key(), "at": Time(), "shop": shop, **fields}
    pipeline = Pipeline(
        name="p",
        events=Stream("asks", "id", "at", declared),
        labels=Stream("labels", "id", "at", {"id": Key(), "at": Time(), "bad": Flag()}),
        target="bad",
        entities=("shop",),
        service="s",
        model=linear_model.LogisticRegression,
        sources=(Stream("tills", "id", "at", declared),),
        inputs=tuple(name for name in fields if name == "till"),
    )
    check_plan(pipeline, plan)


PLANS = {kind: FeaturePlan("s", (view(kind),)) for kind in ("text", "integer")}


@pytest.mark.parametrize(
    ("shop", "kind"),
    [
        (Text(), "text"),
        (Key(), "text"),
        (Key(kind="text"), "text"),
        (Key(required=False), "integer"),
        (Key(kind="integer"), "integer"),
    ],
)
def test_a_key_as_feast_declares_it_is_taken(shop, kind):
    check(shop, PLANS[kind])


@pytest.mark.parametrize(
    ("shop", "kind", "said"),
    [
        (
            Text(),
            "integer",
            r"as Int64, so topic 'tills' must declare the field 'shop' as Key\(\), not Text\(\)",
        ),
        (Key(kind="text"), "integer", r"as Int64, .* as Key\(\), not Key\(kind='text'\)"),
        (Key(kind="integer"), "text", r"as String, .* as Text\(\) or Key\(\), not Key\(kind='integer'\)"),
        (Number(), "integer", r"as Int64, .* as Key\(\), not Number\(\)"),
        (Number(), "text", r"as String, .* as Text\(\) or Key\(\), not Number\(\)"),
    ],
)
def test_a_key_of_the_other_type_is_refused_with_what_to_write(shop, kind, said):
    with pytest.raises(ConfigError, match=said):
        check(shop, PLANS[kind])


@pytest.mark.parametrize("kind", ["text", "integer"])
def test_two_types_of_one_key_are_refused(kind):
    other = {"text": "number", "integer": "string"}[kind]
    lookup = Lookup("weather", (Input("shop", other),), (Output("rain", "float"),), 1)
    with pytest.raises(
        ConfigError, match=r"view 'sales' and batch view 'weather' give the key 'shop' two types"
    ):
        check(Key(), FeaturePlan("s", (view(kind),), lookups=(lookup,)))
    other_view = replace(view("integer" if kind == "text" else "text"), name="more")
    with pytest.raises(ConfigError, match=r"give the key 'shop' two types"):
        check(Key(), FeaturePlan("s", (view(kind), other_view)))


def test_a_key_may_be_an_input_or_counted_where_its_type_is_known():
    distinct = FeaturePlan("s", (view("integer", Aggregate("tills", "count_distinct", "till", 1, "int")),))
    last = FeaturePlan("s", (view("integer", Aggregate("till", "last", "till", 1, "string")),))
    check(Key(), distinct, till=Key(kind="integer"))
    check(Key(), last, till=Key(kind="text"))
    with pytest.raises(
        ConfigError, match=r"'till' of topic 'tills', .* a required Text or Key\(kind='text'\)"
    ):
        check(Key(), last, till=Key(kind="integer"))
    with pytest.raises(
        ConfigError, match=r"input 'till' is the key of no entity .* Key\(kind='text'\) or Key\("
    ):
        check(Key(), PLANS["integer"], till=Key())


def test_a_view_reads_a_key_as_its_type():
    asks = Transform("odd", "m:f", "", (Input("shop", "number"),), (), (Output("is_odd", "int"),))
    check(Key(), FeaturePlan("s", (view("integer"),), (asks,)))
    with pytest.raises(
        ConfigError, match=r"'shop' of topic 'asks', which must be declared there as Number or Key"
    ):
        check(Key(), FeaturePlan("s", (view("text"),), (asks,)))


@pytest.mark.parametrize(("kind", "good", "bad"), [("integer", 1, "1"), ("text", "1", 1)])
def test_the_decoder_takes_the_type_that_the_plan_says_and_the_id_as_text(kind, good, bad):
    stream = Stream("tills", "id", "at", {"id": Key(), "at": Time(), "shop": Key()})
    decoder = stream.decoder(PLANS[kind].key_kinds)

    def decode(key: object) -> Any:
        value = orjson.dumps({"id": 7, "at": NOON, "shop": key})
        return decoder.decode(Record("tills", 0, 0, NOON, None, value, ()))

    decoded = decode(good)
    assert (decoded.id, decoded.payload["shop"]) == ("7", good)
    with pytest.raises(InvalidRecord, match="as the key is declared, got"):
        decode(bad)
    updates = [Update("tills", *decoded)]
    assert [key for key, _ in Splitter(PLANS[kind]).split(updates)] == [EntityKey("shop", good)]
