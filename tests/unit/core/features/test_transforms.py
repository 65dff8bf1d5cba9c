"""Row transforms on a batch: an error of one event does not affect others."""

from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from flows.core.features.batch import Question
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Output, Transform, View
from flows.core.features.transforms import Transformer, fitted

RISK = Transform("risk", "m:risk", "0", (Input("amount", "number"),), ("shops",), (Output("share", "float"),))
PLAN = FeaturePlan("s", (View("shops", "shop", "sales", (Aggregate("n", "count", "", 9, "int"),)),), (RISK,))


def risk(given):
    assert given["n"] == given["shops__n"]
    return {"share": [a / n for a, n in zip(given["amount"], given["n"], strict=True)]}


def extended(function, *rows):
    vectors = [[n] for _, n in rows]
    questions = [Question("q", 0, {"amount": amount}) for amount, _ in rows]
    faults = Transformer(PLAN, {"risk": function}).extend(questions, vectors)
    return vectors, faults


def test_the_outputs_follow_the_views_features():
    assert extended(risk, (6, 2), (9, 3)) == ([[2, 3.0], [3, 3.0]], {})


def test_a_row_that_the_function_cannot_do_spoils_no_other():
    vectors, faults = extended(risk, (6, 2), (9, 0), (8, 4))
    assert (vectors[0], vectors[2]) == ([2, 3.0], [4, 2.0])
    assert {row: repr(error) for row, error in faults.items()} == {1: "ZeroDivisionError('division by zero')"}


def test_what_is_no_feature_is_a_fault():
    for value in (float("nan"), [1], "1", 10**400, 1j):
        assert list(extended(lambda given, v=value: {"share": [v] * len(given["n"])}, (1, 1))[1]) == [0]


def test_a_value_becomes_its_declared_type_so_that_every_store_holds_it():
    for given, dtype, value in [
        (2**53 + 1, "float", 2.0**53),
        (np.float64(0.5), "float", 0.5),
        (np.float32(0.5), "float", 0.5),
        (True, "float", 1.0),
        (np.int64(7), "int", 7),
        (7.0, "int", 7),
        (None, "int", None),
        ("a", "string", "a"),
    ]:
        found = fitted(Output("o", dtype), given)
        assert (type(found), found) == (type(value), value)
        orjson.dumps(found)
    for wrong in (7.5, 2**63, "7", float("inf")):
        with pytest.raises((TypeError, ValueError)):
            fitted(Output("o", "int"), wrong)


def test_a_time_comes_as_a_datetime_in_utc_and_a_missing_one_as_none():
    given = {}
    plan = FeaturePlan("s", (), (Transform("clock", "m:clock", "0", (Input("at", "time"),), (), ()),))
    questions = [Question("q", 0, {"at": at}) for at in ("2018-04-01T02:00:00+02:00", 1522540800000, None)]
    Transformer(plan, {"clock": lambda lists: given.update(lists) or {}}).extend(questions, [[], [], []])
    assert given == {"at": [datetime(2018, 4, 1, tzinfo=UTC), datetime(2018, 4, 1, tzinfo=UTC), None]}


def test_of_equal_own_names_the_last_view_s_feature_stays_as_in_feast():
    views = tuple(View(name, "e", "t", (Aggregate("n", "count", "", 9, "int"),)) for name in ("a", "b"))
    for order, expected in ((("a", "b"), 2), (("b", "a"), 1)):
        plan = FeaturePlan("s", views, (Transform("same", "m:same", "0", (), order, (Output("n", "int"),)),))
        vectors = [[1, 2]]
        Transformer(plan, {"same": lambda given: {"n": given["n"]}}).extend([Question("q", 0, {})], vectors)
        assert vectors == [[1, 2, expected]]
