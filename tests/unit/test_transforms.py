"""Row transforms: run on a batch, and one event's fault is no other's."""

from flows.core.features import Question
from flows.core.plan import Aggregate, FeaturePlan, Output, Transform, View
from flows.core.transforms import Transformer

RISK = Transform("risk", "m:risk", "0", ("amount",), ("shops",), (Output("share", "float"),))
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
    assert faults == {1: "ZeroDivisionError: division by zero"}


def test_what_is_no_feature_is_a_fault():
    for value in (float("nan"), [1]):
        assert list(extended(lambda given, v=value: {"share": [v] * len(given["n"])}, (1, 1))[1]) == [0]
