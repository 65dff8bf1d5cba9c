"""The scorer of single events: it serves what the model reads, and its scores."""

from typing import Any

import pytest

from flows.core.features.batch import Question
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.core.models.model import Lineup, Model
from flows.core.serving.scoring import EventScorer, InputReader

PLAN = FeaturePlan("s", (View("v", "shop", "sales", (Aggregate("n", "count", "", 9, "int"),)),))


class Half:
    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        assert features == {"b": 2, "a": None, "v__n": 7}
        return {True: 0.5}


class Broken:
    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        raise ValueError("it is broken")


def test_a_prediction_says_what_was_read_and_what_came_of_it():
    lineup, failures = Lineup(Model("v1", Half())), []
    lineup.apply("challenger", Model("v2", Broken()))
    question = Question("1", 17, {"b": 2, "c": 3})
    prediction = EventScorer(["b", "a"], PLAN).predict(question, [7], lineup, failures.append)
    assert prediction == ("1", 17, 0.5, "v1", {}, [2, None, 7])
    assert [str(error) for error in failures] == ["it is broken"]


def test_an_error_of_the_champion_is_raised():
    with pytest.raises(ValueError, match="it is broken"):
        EventScorer([], PLAN).predict(Question("1", 17, {}), [7], Lineup(Model("v1", Broken())), pytest.fail)


@pytest.mark.parametrize(
    ("names", "values"),
    [((), []), (("a",), [1]), (("c",), [None]), (("b", "a"), [2, 1]), (("a", "c"), [1, None])],
)
def test_inputs_are_read_in_the_order_of_their_declaration_and_missing_ones_are_null(names, values):
    assert list(InputReader(names)({"a": 1, "b": 2})) == values
