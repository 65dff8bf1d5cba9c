"""The candidates of each kind of trigger."""

import pytest

from flows.core.learning.candidates.plans import CandidatePlan, plans
from flows.core.learning.candidates.triggers import Trigger, TriggerKind

SINCE, NOW = 1000, 5000


def kinds(kind: TriggerKind, window: int | None = None, has_search: bool = False) -> list[tuple[str, int]]:
    found = plans(Trigger(kind, "id", "v4", "", SINCE, NOW, "v1"), window, has_search)
    return [(plan.kind, plan.since) for plan in found]


@pytest.mark.parametrize("kind", ["alarm", "command"])
def test_after_a_change_the_champion_and_a_new_model_learn_what_came_since(kind: TriggerKind):
    assert kinds(kind) == [("fresh", SINCE), ("warm", SINCE)]


def test_a_longer_window_brings_one_more_candidate():
    assert kinds("alarm", window=4500) == [("fresh", SINCE), ("warm", SINCE), ("fresh-longer", 500)]
    assert kinds("alarm", window=3000) == [("fresh", SINCE), ("warm", SINCE)]


def test_a_window_longer_than_time_begins_with_time():
    assert kinds("alarm", window=9000)[-1] == ("fresh-longer", 0)


@pytest.mark.parametrize("kind", ["schedule", "floor"])
def test_without_a_change_only_new_models_learn(kind: TriggerKind):
    assert kinds(kind, window=4000, has_search=True) == [("fresh", SINCE), ("search", SINCE)]


def test_the_first_search_is_alone():
    trigger = Trigger("first", "id", "f4", "", 0, NOW, "v1")
    assert plans(trigger, 4500, True) == (CandidatePlan("search", "f4-search", 0),)


def test_a_search_is_over_the_longest_history():
    assert kinds("alarm", window=4500, has_search=True)[-1] == ("search", 500)
    assert kinds("alarm", has_search=True)[-1] == ("search", SINCE)


def test_a_version_has_the_name_of_its_trigger_and_its_kind():
    (first, *_) = plans(Trigger("alarm", "id", "v4", "", SINCE, NOW, "v1"), None, False)
    assert first == CandidatePlan("fresh", "v4-fresh", SINCE)
