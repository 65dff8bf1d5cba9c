"""Served features as rows of the offline store, by view."""

from itertools import chain

import orjson
import pytest
from answered import encode
from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.plan import Aggregate, FeaturePlan, Output, Transform, View
from flows.core.models.model import Prediction
from flows.core.serving.prediction_message import Asked
from flows.core.serving.served_rows import AnswerDecoder, ServedAnswer, ServedRow
from flows.core.stream.broker import Record
from flows.errors import InvalidRecord

HOUR = 3_600_000
NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z
MOMENT = 1000 * NOON + 1


def view(name, entity, *dtypes):
    aggregates = [Aggregate(f"f{i}", "last", "price", HOUR, dtype) for i, dtype in enumerate(dtypes)]
    return View(name, entity, "tills", tuple(aggregates))


PLAN = FeaturePlan(
    "shops",
    (view("a", "shop", "int", "float"), view("b", "town", "string"), view("c", "shop", "float")),
    (Transform("calendar", "m:f", "", ("time",), (), (Output("weekend", "int"),)),),
)
INPUTS = ["card", 7.5]
VALUES = [2, 0.1 + 0.2, "x", None]  # of the views
decoder = AnswerDecoder(PLAN, len(INPUTS))


def record(value):
    return Record("p.predictions", 0, 0, NOON, b"1", value, ())


def prediction(plan=PLAN.hash, keys=("north", "Oslo"), moment=MOMENT, features=(*INPUTS, *VALUES, 1)):
    served = Prediction("1", NOON, 0.5, "v1", {}, list(features))
    return record(encode("p.predictions", 0, served, plan, Asked(keys, (), moment)).value)


def decoded(value):
    """Return the answer of one record, decoded between two others; raise its fault."""
    first, answer, last = decoder.decode([prediction(), value, prediction(moment=MOMENT + 1)])
    assert [row.moment for row in (*first.rows, *last.rows)] == [MOMENT] * 3 + [MOMENT + 1] * 3
    if isinstance(answer, InvalidRecord):
        raise answer
    return answer


def test_each_view_gets_its_features_by_key_at_the_moment_of_the_question():
    assert decoded(prediction()) == ServedAnswer(
        PLAN.hash,
        [
            ServedRow("a", "north", MOMENT, [2, 0.1 + 0.2]),
            ServedRow("b", "Oslo", MOMENT, ["x"]),
            ServedRow("c", "north", MOMENT, [None]),
        ],
    )


def test_a_view_whose_key_is_null_has_no_row():
    assert [row.view for row in decoded(prediction(keys=(None, "Oslo"))).rows] == ["b"]
    assert decoded(prediction(keys=(None, None))).rows == []


def test_the_features_of_another_plan_are_left_unread():
    other = prediction(plan="0123456789ab", keys=(), features=[True])
    assert decoded(other) == ServedAnswer("0123456789ab", [])


@given(st.binary())
def test_no_bytes_whatever_raise_anything_but_invalid_record(value):
    with pytest.raises(InvalidRecord):
        decoded(record(value))


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json, json, json, st.just(PLAN.hash) | json)
def test_no_json_whatever_raises_anything_but_invalid_record(keys, moment, features, plan):
    body = {"plan": plan, "keys": keys, "moment": moment, "features": features}
    with pytest.raises(InvalidRecord):
        decoded(record(orjson.dumps(body)))
    for name, value in body.items():
        broken = orjson.loads(prediction().value) | {name: value}
        try:
            rows = decoded(record(orjson.dumps(broken))).rows
        except InvalidRecord:
            continue
        assert all(type(row.key) is str and type(row.moment) is int for row in rows)


def replaced(place, value):
    features = [*INPUTS, *VALUES, 1]
    features[place] = value
    return {"features": features}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"plan": "not a hash"}, "'plan' must be the hash"),
        ({"keys": ("north",)}, "'keys' must be the keys of shop, town"),
        ({"keys": ("north", 7)}, "the key of 'town' must be a string or null"),
        ({"moment": -1}, "'moment' must be"),
        ({"moment": NOON * 10_000}, "'moment' must be"),
        ({"features": (*INPUTS, *VALUES)}, "'features' must be an array of 7 values"),
    ],
    ids=str,
)
def test_a_fault_is_named(broken, says):
    with pytest.raises(InvalidRecord, match=says):
        decoded(prediction(**broken))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (replaced(2, 2.0), "view 'a': feature 'f0' must be int, got float"),
        (replaced(2, True), "view 'a': feature 'f0' must be int, got bool"),
        (replaced(3, "x"), "view 'a': feature 'f1' must be float, got str"),
        (replaced(4, 1), "view 'b': feature 'f0' must be string, got int"),
        (replaced(5, [1]), "view 'c': feature 'f0' must be float, got list"),
    ],
    ids=str,
)
def test_a_wrong_feature_is_named_and_takes_no_other_view_with_it(broken, says):
    answer = decoded(prediction(**broken))
    assert answer.faults == (says,)
    assert {row.view for row in answer.rows} == {"a", "b", "c"} - {says[6]}


def test_a_number_that_no_float_holds_is_served_as_the_nearest_one():
    (row, *_) = decoded(prediction(**replaced(3, 2**53 + 1))).rows
    assert (row.values, type(row.values[1])) == ([2, 2.0**53], float)


def test_what_is_served_for_no_view_may_be_anything():
    answer = decoded(prediction(features=[{"any": 1}, True, *VALUES, "even a transform's"]))
    assert list(chain(*[row.values for row in answer.rows])) == VALUES


@given(st.sampled_from(["plan", "keys", "moment", "features"]), json)
def test_an_answer_is_the_same_whether_it_is_checked_at_once_or_view_by_view(field, value):
    body = orjson.loads(prediction().value)
    bodies = [body, body | {field: value}] + [body | replaced(place, value) for place in range(7)]
    for each in bodies:
        given_record = record(orjson.dumps(each))
        assert repr(decoder.decode([given_record])) == repr([decoder._checked(given_record)])


def test_bytes_that_are_not_utf_8_are_refused_in_any_field():
    with pytest.raises(InvalidRecord, match="not JSON"):
        decoded(record(prediction().value[:-1] + b',"more":"\xff"}'))
