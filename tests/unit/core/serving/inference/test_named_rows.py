"""The features of a request's rows: given, read from the online store, or computed by transforms."""

from typing import Any

import pytest

from flows.core.features.lookups import Stored
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, Transform, View
from flows.core.features.transforms import Transformer
from flows.core.serving.inference.named_rows import InputColumn, NamedRow, NamedRows
from flows.core.stream.fields import Flag, Key, Number, Text, Time
from flows.core.stream.times import iso
from flows.errors import InvalidRequest, StoreError

NOON, HOUR = 1_357_041_600_000, 3_600_000
SALES = View(
    "sales",
    "shop",
    "sales",
    (Aggregate("n", "count", "", HOUR, "int"), Aggregate("mean", "mean", "price", HOUR)),
    key="integer",
)
WEATHER = Lookup("weather", (Input("city", "string"),), (Output("wind", "float"),), 2 * HOUR)
DOUBLE = Transform("double", "m:f", "c", (Input("price", "number"),), ("sales",), (Output("n2", "float"),))
PLAN = FeaturePlan("s", (SALES,), (DOUBLE,), lookups=(WEATHER,))
FIELDS = {
    "id": Text(),
    "at": Time(),
    "shop": Key(),
    "city": Text(required=False),
    "price": Number(0, 100),
    "new": Flag(true="Y", false="N", required=False),
}
GIVEN = {"price": [2.0], "sales__n": [3.0], "sales__mean": [None], "weather__wind": [1], "double__n2": [4]}


def doubled(columns: dict[str, list[Any]]) -> dict[str, list[float]]:
    return {"n2": [2.0 * n * price for n, price in zip(columns["n"], columns["price"], strict=True)]}


ROWS = NamedRows(FIELDS, "at", ("price", "new"), PLAN, Transformer(PLAN, {"double": doubled}))


class Store:
    """Holds one row of shop 1, and the weather of one city; `away` cannot be read."""

    def read(self, of, keys):
        if isinstance(of, View):
            return {key: Stored(NOON, [5, 7.5]) if key == 1 else None for key in keys}
        return {key: Stored(NOON - HOUR, [9.5]) for key in keys if key != ("away",)}


def read(**columns: list[Any]) -> list[NamedRow]:
    return ROWS.rows(columns, len(columns["price"]), Store(), Store())


def test_features_that_are_given_are_taken_with_their_types_and_nothing_is_read():
    assert not ROWS.needs_store(GIVEN)
    (row,) = ROWS.rows({**GIVEN, "new": ["Y"]}, 1)
    assert row == NamedRow([2.0, True, 3, None, 1.0, 4.0], None)
    assert type(row.features[2]) is int


def test_features_are_read_by_the_keys_and_computed_with_the_oldest_time_of_what_was_read():
    assert ROWS.needs_store(["price", "shop", "city"])
    found = read(price=[2.0, 3.0], shop=[1.0, 2], city=["x", None])
    assert found == [
        NamedRow([2.0, None, 5, 7.5, 9.5, 20.0], NOON - HOUR),
        NamedRow([3.0, None, 0, None, None, 0.0], None),
    ]


def test_at_the_event_time_an_ended_window_is_empty_and_a_stale_value_is_null():
    (fresh,) = read(price=[2.0], shop=[1], city=["x"], at=[iso(NOON + HOUR - 1)])
    (ended,) = read(price=[2.0], shop=[1], city=["x"], at=[iso(NOON + HOUR + 1)])
    assert fresh.features == [2.0, None, 5, 7.5, 9.5, 20.0]
    assert ended.features == [2.0, None, 0, None, None, 0.0]


def test_a_table_that_does_not_answer_is_an_error_and_no_null():
    with pytest.raises(StoreError, match="'weather'"):
        read(price=[2.0], shop=[1], city=["away"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"price": None}, "input 'price' is missing"),
        ({"price": [None]}, "input 'price' must not be null"),
        ({"price": [101]}, "input 'price' must be between 0 and 100"),
        ({"other": [1]}, "an input must be one of price, new, shop, city, at, sales__n"),
        ({"sales__n": None}, "input 'sales__n' is missing; send all features of a view, or none"),
        ({"sales__n": None, "sales__mean": None}, "send it, or 'shop', by which it is read"),
        ({"weather__wind": None}, "send it, or 'city', by which it is read"),
        ({"sales__n": [0.5]}, "sales__n must be a whole number or None"),
        ({"new": [True]}, "input 'new' must be 'Y' or 'N', as declared"),
    ],
)
def test_a_wrong_column_is_named(change, said):
    columns = {name: values for name, values in {**GIVEN, **change}.items() if values is not None}
    with pytest.raises(InvalidRequest) as refused:
        ROWS.rows(columns, 1)
    assert said in str(refused.value)


def test_the_fault_of_a_transform_names_the_row():
    columns = {name: values for name, values in GIVEN.items() if name != "double__n2"}
    with pytest.raises(InvalidRequest, match="row 0: TypeError"):
        ROWS.rows({**columns, "sales__n": [None]}, 1)


def test_the_columns_are_the_inputs_then_the_keys_and_the_features_with_their_types():
    assert ROWS.columns == [
        InputColumn("price", "FP64"),
        InputColumn("new", "BYTES"),
        InputColumn("shop", "INT64"),
        InputColumn("city", "BYTES"),
        InputColumn("at", "BYTES"),
        InputColumn("sales__n", "INT64"),
        InputColumn("sales__mean", "FP64"),
        InputColumn("weather__wind", "FP64"),
        InputColumn("double__n2", "FP64"),
    ]
