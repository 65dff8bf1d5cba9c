"""Models in service, and the line-up from the models topic."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model, preprocessing, tree

from flows.core.models.model import Canary, Lineup, Model
from flows.core.models.tasks import UNDECIDED


class Answers:
    """An estimator that gives always the same answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict_proba_one(self, features: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def learn_one(self, features: Any, truth: bool) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer


def answering(version: str, answer: Any = None) -> Model:
    return Model(version, Answers({True: 0.5} if answer is None else answer))


def test_a_score_is_the_probability_that_the_target_is_true():
    assert answering("v1", {False: 0.3, True: 0.7}).score({}) == 0.7
    assert answering("v1", {False: 1.0}).score({}) == 0.0


def test_a_classifier_of_river_that_has_seen_no_label_is_undecided():
    assert Model("v1", tree.HoeffdingTreeClassifier()).score({"a": 1.0}) == UNDECIDED == 0.5
    assert Model("v1", linear_model.LogisticRegression()).score({"a": 1.0}) == 0.5


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_score_that_is_no_finite_number_is_an_error(value):
    with pytest.raises(ArithmeticError, match=f"v7 gives {value}"):
        answering("v7", {True: value}).score({})


def test_a_scaler_that_one_infinity_poisoned_is_told_by_its_score():
    model = Model("v1", preprocessing.StandardScaler() | linear_model.LogisticRegression())
    for value in (1.0, 1e300, 2.0, 3.0):
        model.learn({"a": value}, True)
    with pytest.raises(ArithmeticError):
        model.score({"a": 1.0})


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_feature_that_is_no_finite_number_is_neither_scored_nor_learned(value):
    model = Model("v1", preprocessing.StandardScaler() | linear_model.LogisticRegression())
    model.learn({"a": 1.0, "b": 2.0}, True)
    before = model.score({"a": 1.0, "b": 3.0})
    with pytest.raises(ArithmeticError, match=f"feature 'b' is {value}"):
        model.score({"a": 1.0, "b": value})
    assert str(model.learn({"a": 1.0, "b": value}, True)) == f"feature 'b' is {value}"
    assert (model.learned, model.score({"a": 1.0, "b": 3.0})) == (1, before)


def test_learning_counts_the_labels_and_says_what_went_wrong():
    model = Model("v1", linear_model.LogisticRegression())
    assert model.learn({"a": 1.0}, True) is None
    assert model.learned == 1
    assert isinstance(model.learn({"a": "a string"}, True), TypeError)
    assert model.learned == 1


def test_the_first_model_has_learned_nothing():
    model = Model("v1", linear_model.LogisticRegression())
    assert (model.version, model.learned) == ("v1", 0)


def test_a_challenger_is_scored_beside_the_champion_until_it_is_retired():
    failures: list[Exception] = []
    lineup = Lineup(answering("v1"))
    lineup.apply("challenger", answering("v2", {True: 0.2}))
    assert lineup.shadow_scores({}, failures.append) == {"v2": 0.2}
    lineup.apply("retired", answering("v2"))
    assert lineup.shadow_scores({}, failures.append) == {}
    assert lineup.champion.version == "v1"


def test_a_challenger_that_is_promoted_is_no_shadow_any_more():
    failures: list[Exception] = []
    lineup = Lineup(answering("v1"))
    lineup.apply("challenger", answering("v2"))
    lineup.apply("champion", answering("v2"))
    assert lineup.champion.version == "v2"
    assert lineup.shadow_scores({}, failures.append) == {}


def test_one_challenger_is_the_canary_until_it_is_retired_or_there_is_a_new_champion():
    lineup = Lineup(answering("v1"))
    lineup.apply("challenger", answering("v2"), share=0.1)
    assert lineup.canary == Canary("v2", 0.1)
    lineup.apply("challenger", answering("v3"))
    lineup.apply("champion", answering("v1"))
    assert lineup.canary is None
    lineup.apply("challenger", answering("v2"), share=0.2)
    assert lineup.canary == Canary("v2", 0.2)
    lineup.retire("v3")
    assert lineup.canary == Canary("v2", 0.2)
    lineup.retire("v2")
    assert lineup.canary is None


@pytest.mark.parametrize("version", ["v2", "v17"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.95])
def test_a_canary_serves_about_its_share_of_the_entities(share, version):
    served = [Canary(version, share).serves(f"entity {number}") for number in range(2000)]
    assert sum(served) / 2000 == pytest.approx(share, abs=0.02)


def test_a_newer_snapshot_takes_the_place_of_the_older():
    failures: list[Exception] = []
    lineup = Lineup(answering("v1"))
    lineup.apply("champion", answering("v1", {True: 0.9}))
    lineup.apply("challenger", answering("v2", {True: 0.1}))
    lineup.apply("challenger", answering("v2", {True: 0.4}))
    assert lineup.champion.score({}) == 0.9
    assert lineup.shadow_scores({}, failures.append) == {"v2": 0.4}


def test_a_challenger_of_the_champions_own_version_is_not_scored_twice():
    failures: list[Exception] = []
    lineup = Lineup(answering("v2"))
    lineup.apply("challenger", answering("v2"))
    assert lineup.shadow_scores({}, failures.append) == {}


def test_a_challenger_that_cannot_score_stays_out_and_the_others_score():
    failures: list[Exception] = []
    lineup = Lineup(answering("v1"))
    lineup.apply("challenger", answering("v2", ValueError("broken")))
    lineup.apply("challenger", answering("v3", {True: nan}))
    lineup.apply("challenger", answering("v4", {True: 0.6}))
    assert lineup.shadow_scores({}, failures.append) == {"v4": 0.6}
    assert [str(failure) for failure in failures] == ["broken", "model v3 gives nan"]


roles = st.sampled_from(["champion", "challenger", "retired"])


@given(st.lists(st.tuples(roles, st.sampled_from(["v1", "v2", "v3"])), max_size=8))
def test_saying_the_last_thing_twice_changes_nothing(messages):
    once, twice = Lineup(answering("v1")), Lineup(answering("v1"))
    for role, version in messages:
        once.apply(role, answering(version))
        twice.apply(role, answering(version))
        twice.apply(role, answering(version))
    assert once.champion.version == twice.champion.version
    assert once.challengers.keys() == twice.challengers.keys()
    assert once.champion.version not in once.challengers
