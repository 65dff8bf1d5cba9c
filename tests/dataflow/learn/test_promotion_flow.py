"""Promotion and probation through the predict and the learn flow; what counts is what was served."""

from dataclasses import replace
from itertools import groupby
from math import inf
from typing import Any

import pytest
from harness import CrashAfter, Project, records_of, run_flow
from made_flights import MINUTE, NOON, event, label

from flows.core.models.model import Canary, Model, ModelMessage
from flows.policies import DriftPolicy, RetrainPolicy
from flows.runtime.engine import Engine

FLIGHTS = 80  # of a round


class Turncoat:
    """A classifier that knows the truth with the probability `sure`, until it learned `turns_at` labels.

    True are the flights of odd minutes. After that it takes them for those of even minutes.
    """

    def __init__(self, sure: float = 0.6, turns_at: float = inf) -> None:
        self.sure = sure
        self.turns_at = turns_at
        self.learned = 0

    def predict_proba_one(self, features: dict[str, Any]) -> dict[bool, float]:
        is_right = self.learned < self.turns_at
        is_odd = features["minute_of_day"] % 2 == 1
        return {True: self.sure if is_odd == is_right else 1 - self.sure}

    def learn_one(self, features: dict[str, Any], truth: bool) -> None:
        self.learned += 1


DECLARED = {
    "model": Turncoat,
    "drift": DriftPolicy(kinds=("concept",), warm_up=10_000),
    "retrain": RetrainPolicy(block=5, probation=200, trial=0),
}


def challenge(project: Project, running: Engine, **estimators: Turncoat) -> None:
    """Publish a candidate for each version, and let the learner make it a challenger."""
    topic = running.pipeline.topic("models")
    for number, (version, estimator) in enumerate(estimators.items(), 1):
        message = ModelMessage("flight_delays", "candidate", NOON - 1, Model(version, estimator), {}, number)
        project.send([running.sealer().record(topic, message)])
    run_flow(running, "learn", until=lambda broker: len(records_of(broker, topic)) == 2 * len(estimators))


def test_the_first_candidate_of_an_alarm_is_champion_at_once(project: Project) -> None:
    running = project.engine(**DECLARED | {"retrain": RetrainPolicy(block=5, probation=200)})
    message = ModelMessage("flight_delays", "candidate", NOON - 1, Model("v2", Turncoat()), {}, 1)
    project.send([running.sealer().record(running.pipeline.topic("models"), message)])
    registry = running.pipeline.topic("registry")
    run_flow(running, "learn", until=lambda broker: len(records_of(broker, registry)) == 5)
    assert [(entry["change"], entry["version"]) for entry in project.values("registry")] == [
        ("born", "v1"),
        ("promoted", "v1"),
        ("born", "v2"),
        ("promoted", "v2"),
        ("demoted", "v1"),
    ]


def airport(number: int) -> str:
    """Return one of 16 airports: the first entity of the pipeline, by whose key a canary is served."""
    return f"A{number * 7 % 16:02}"


def round_of(project: Project, running: Engine, number: int, crashes: int = 0) -> None:
    """Serve the flights of a round, and learn their labels; the learner crashes after so many batches.

    A label is known before the next flight, since a flow reads models and events in the order of their time.
    """
    numbers = range(number * FLIGHTS, (number + 1) * FLIGHTS)
    project.send([event(f"F{n:05}", NOON + n * MINUTE, origin=airport(n)) for n in numbers])
    run_flow(running, "predict")
    project.send([label(f"F{n:05}", NOON + n * MINUTE + MINUTE // 2, n % 2 == 1) for n in numbers])
    if crashes:
        with pytest.raises(RuntimeError):
            run_flow(replace(running, telemetry=CrashAfter(crashes)), "learn", until=lambda _: False)
    run_flow(running, "learn")


def served(project: Project) -> list[tuple[str, list[str], int]]:
    """Return which version answered how many flights in a row, and the versions in the shadow."""
    answers = sorted(project.values("predictions"), key=lambda each: each["id"])
    assert [each["id"] for each in answers] == [f"F{n:05}" for n in range(len(answers))]
    return [
        (version, list(shadows), len(list(flights)))
        for (version, shadows), flights in groupby(
            answers, key=lambda each: (each["model"], tuple(each["shadows"]))
        )
    ]


def roles(project: Project) -> list[tuple[str, str]]:
    """Return the changes of roles on the models topic, without the snapshots between them."""
    known = {"v1": "champion"}
    found = []
    for message in project.values("models"):
        version, role = message["version"], message["role"]
        if role != "candidate" and known.get(version) != role:
            known[version] = role
            found.append((version, role))
    return found


def test_a_challenger_that_only_looked_better_is_served_and_taken_back_without_a_gap(
    project_on: Project,
) -> None:
    running = project_on.with_settings(MODEL_SECONDS=0.01).engine(**DECLARED)
    challenge(project_on, running, v2=Turncoat(0.9, turns_at=FLIGHTS))
    for number in range(3):
        round_of(project_on, running, number)
    assert served(project_on) == [("v1", ["v2"], FLIGHTS), ("v2", ["v1"], FLIGHTS), ("v1", [], FLIGHTS)]
    assert roles(project_on) == [
        ("v2", "challenger"),
        ("v2", "champion"),
        ("v1", "challenger"),
        ("v1", "champion"),
        ("v2", "retired"),
    ]
    *_, last = project_on.values("metrics")
    assert (last["model"], last["labels"]) == ("v1", 3 * FLIGHTS)
    assert project_on.records("dead-letters") == []


@pytest.mark.parametrize("crashes", [1, 2, 3])
def test_roles_and_contests_survive_crashes_of_the_learner(project: Project, crashes: int) -> None:
    project = project.with_settings(BATCH=20, EPOCH_SECONDS=0.1, MODEL_SECONDS=0.01)
    running = project.engine(**DECLARED)
    challenge(project, running, v2=Turncoat(0.9, turns_at=FLIGHTS))
    for number in range(3):
        round_of(project, running, number, crashes)
    assert served(project) == [("v1", ["v2"], FLIGHTS), ("v2", ["v1"], FLIGHTS), ("v1", [], FLIGHTS)]
    assert project.values("metrics")[-1]["labels"] == 3 * FLIGHTS
    last = [each for each in project.values("models") if each["version"] == "v1"][-1]
    assert (last["role"], last["learned"]) == ("champion", 3 * FLIGHTS)


def test_several_challengers_are_scored_in_the_shadow_and_the_best_one_is_promoted(project: Project) -> None:
    running = project.with_settings(MODEL_SECONDS=0.01).engine(**DECLARED)
    challenge(project, running, v2=Turncoat(0.7), v3=Turncoat(0.8), v4=Turncoat(0.9))
    for number in range(2):
        round_of(project, running, number)
    assert served(project) == [
        ("v1", ["v2", "v3", "v4"], FLIGHTS),
        ("v4", ["v2", "v3", "v1"], FLIGHTS),
    ]


def test_a_canary_answers_for_the_same_airports_until_it_is_champion(project: Project) -> None:
    declared = {**DECLARED, "retrain": RetrainPolicy(block=5, probation=0, canary=0.3, canary_labels=FLIGHTS)}
    running = project.with_settings(MODEL_SECONDS=0.01).engine(**declared)
    challenge(project, running, v2=Turncoat(0.9))
    for number in range(3):
        round_of(project, running, number)
    answers = sorted(project.values("predictions"), key=lambda each: each["id"])
    rounds = [answers[start : start + FLIGHTS] for start in range(0, 3 * FLIGHTS, FLIGHTS)]
    assert [{each["model"] for each in of_round} for of_round in rounds] == [{"v1"}, {"v1", "v2"}, {"v2"}]
    by_airport = {(airport(FLIGHTS + n), each["model"]) for n, each in enumerate(rounds[1])}
    assert {name for name, version in by_airport if version == "v2"} == {
        name for name in map(airport, range(16)) if Canary("v2", 0.3).serves(name)
    }
    assert len(by_airport) == 16  # each airport has one model
    assert {(each["model"], *each["shadows"]) for each in rounds[1]} == {("v1", "v2"), ("v2", "v1")}
    shares = [each.get("share") for each in project.values("models") if each["version"] == "v2"]
    assert set(shares) == {None, 0.3}
