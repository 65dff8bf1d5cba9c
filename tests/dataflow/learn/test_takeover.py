"""The takeover of candidates: the challenger learns each label since the change exactly once."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from candidate_models import MARK, Counting
from harness import CrashAfter, Project, run_flow
from made_flights import HOUR, MINUTE, NOON, label, prediction, served
from signals import changed, outgoing, signal

from flows.core.learning.candidates import recent
from flows.core.models.model import Model
from flows.core.stream.broker import Outgoing
from flows.policies import RetrainPolicy
from flows.runtime.engine import Engine

FLIGHTS = 300
FIRST = 100  # the first flight whose label is known since the change
SINCE = NOON + FIRST * MINUTE + HOUR
ALARM = 200  # the flight whose label raises the alarm
DECLARED = {
    "model": Counting,
    "outliers": "learn",
    "label_wait": timedelta(hours=6),
    "retrain": RetrainPolicy(minimum_labels=50, challengers=5, trial=0),
}
ALARMED = changed(signal(1, SINCE), time=NOON + ALARM * MINUTE + HOUR)


def flights(running: Engine, first: int, last: int) -> list[Outgoing]:
    """A prediction a minute and its label an hour later, of the flights with these numbers."""
    records = []
    for number in range(first, last):
        time, flight = NOON + number * MINUTE, f"F{number:05}"
        answer = served(running, flight, time, True, True, Random(number))
        records += [prediction(running, answer), label(flight, time + HOUR, number % 2 == 0)]
    return sorted(records, key=lambda record: record.timestamp or 0)


def marks(running: Engine, first: int, last: int) -> list[float]:
    """The features by which the model knows these flights."""
    at = running.pipeline.feature_names(running.state.plan()).index(MARK)
    served_ = (served(running, "", NOON, True, True, Random(number)) for number in range(first, last))
    return [each.features[at] for each in served_]


def roles(project: Project) -> set[bytes | None]:
    return {dict(record.headers)["role"] for record in project.records("models")}


def newest(project: Project, running: Engine, version: str) -> Model:
    """Return the model as the learner published it last."""
    messages = [running.sealer().read(record) for record in project.records("models")]
    return [m.model for m in messages if m.model.version == version and m.role == "challenger"][-1]


def each_label_is_learned_once(project: Project, running: Engine, last: int = FLIGHTS) -> None:
    fresh = newest(project, running, "v2-fresh")
    assert fresh.estimator.seen == marks(running, FIRST, last)
    assert fresh.learned == last - FIRST


def test_a_challenger_learns_the_labels_that_came_while_it_was_trained(project_on: Project) -> None:
    running = project_on.engine(**DECLARED)
    project_on.send(flights(running, 0, FLIGHTS))
    run_flow(running, "learn")
    project_on.send([outgoing(ALARMED)])
    run_flow(running, "retrain")
    run_flow(running, "learn", until=lambda _: b"challenger" in roles(project_on))
    each_label_is_learned_once(project_on, running)
    project_on.send(flights(running, FLIGHTS, FLIGHTS + 20))
    run_flow(running, "learn")
    each_label_is_learned_once(project_on, running, FLIGHTS + 20)


def test_a_copy_of_the_champion_learns_the_labels_since_the_change_twice_and_later_ones_once(
    project: Project,
) -> None:
    running = project.engine(**DECLARED)
    project.send(flights(running, 0, FLIGHTS))
    run_flow(running, "learn")
    project.send([outgoing(ALARMED)])
    run_flow(running, "retrain")
    project.send(flights(running, FLIGHTS, FLIGHTS + 20))
    run_flow(running, "learn")
    warm = newest(project, running, "v2-warm").estimator.seen
    expected = marks(running, 0, FLIGHTS) + marks(running, FIRST, FLIGHTS + 20)
    assert warm == expected


def test_a_candidate_waits_for_a_learner_that_is_behind_its_training(project_on: Project) -> None:
    running = project_on.with_settings(BATCH=40).engine(**DECLARED)
    project_on.send([*flights(running, 0, FLIGHTS), outgoing(ALARMED)])
    run_flow(running, "retrain")
    run_flow(running, "learn")
    each_label_is_learned_once(project_on, running)


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
def test_after_a_crash_of_the_learner_each_label_is_learned_once_too(project: Project, batches: int) -> None:
    project = project.with_settings(BATCH=40, EPOCH_SECONDS=0.1, MODEL_SECONDS=0.01)
    running = project.engine(**DECLARED)
    project.send([*flights(running, 0, FLIGHTS), outgoing(ALARMED)])
    run_flow(running, "retrain")
    with pytest.raises(RuntimeError):
        run_flow(replace(running, telemetry=CrashAfter(batches)), "learn", until=lambda _: False)
    run_flow(running, "learn")
    each_label_is_learned_once(project, running)
    assert [(entry["change"], entry["version"]) for entry in project.values("registry")] == [
        ("born", "v1"),
        ("promoted", "v1"),
        ("born", "v2-fresh"),
    ]


def test_a_candidate_that_misses_labels_that_the_learner_has_forgotten_is_a_dead_letter(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "KEPT", 10)
    monkeypatch.setattr(recent, "_SLACK", 5)
    running = project.engine(**DECLARED)
    project.send(flights(running, 0, FLIGHTS))
    run_flow(running, "learn")
    project.send([outgoing(ALARMED)])
    run_flow(running, "retrain")
    run_flow(running, "learn", until=lambda _: project.records("dead-letters") != [])
    letters = [dict(letter.headers) for letter in project.records("dead-letters")]
    assert {letter["reason"] for letter in letters} == {b"stale"}
    assert b"must miss none of the labels before the last" in (letters[0]["detail"] or b"")
