"""The retrain flow: it trains a candidate for a drift signal on the labels since the change."""

from random import Random

import pytest
from harness import Project, run_flow
from made_flights import HOUR, MINUTE, NOON, label, prediction, served
from signals import changed, outgoing, signal

from flows.core.learning.training import train
from flows.core.models.model import ModelMessage
from flows.core.stream.broker import Outgoing
from flows.pipeline import RetrainPolicy
from flows.runtime.engine import Engine
from flows.runtime.learner import new_learner

FLIGHTS = 300
SINCE = NOON + 160 * MINUTE  # by then a hundred labels have come


def world(running: Engine) -> tuple[list, dict[str, bool], list[Outgoing]]:
    """A prediction a minute and its label an hour later: the predictions, the truths, the records."""
    random = Random(5)
    truths = {f"F{number:05}": random.random() < 0.4 for number in range(FLIGHTS)}
    answers = [
        served(running, flight, NOON + number * MINUTE, truth, True, random)
        for number, (flight, truth) in enumerate(truths.items())
    ]
    records = [prediction(running, answer) for answer in answers]
    records += [label(answer.id, answer.time + HOUR, truths[answer.id]) for answer in answers]
    return answers, truths, records


def candidates(project: Project, running: Engine) -> list[ModelMessage]:
    return [running.sealer().read(record) for record in project.records("models")]


def test_a_signal_brings_a_candidate_that_learned_the_labels_since_the_change(project_on: Project) -> None:
    running = project_on.engine(retrain=RetrainPolicy(minimum_labels=200))
    answers, truths, records = world(running)
    project_on.send([*records, outgoing(signal(3, SINCE))])
    run_flow(running, "retrain")

    (message,) = candidates(project_on, running)
    recent = {answer.id: truths[answer.id] for answer in answers if answer.time + HOUR >= SINCE}
    assert (message.role, message.model.version, message.model.learned) == ("candidate", "v4", 200)
    assert len(recent) == 200
    assert message.lineage == {
        "parent": "v1",
        "drift": signal(3, SINCE).id,
        "plan": running.state.plan().hash,
        "trained_on": 200,
        "since": "2013-01-01T14:40:00.000Z",
    }
    expected = new_learner(running.pipeline, running.state.plan()).champion
    train(expected, running.pipeline.feature_names(running.state.plan()), answers, recent, [].append)
    assert (
        message.model.estimator["LogisticRegression"].weights
        == expected.estimator["LogisticRegression"].weights
    )


def test_labels_that_cannot_be_used_do_not_stop_the_retraining(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=200))
    _, _, records = world(running)
    bad = [Outgoing("flight_labels", value, timestamp=SINCE + 1) for value in (b"{", b'{"late": 1}')]
    project.send([*records, *bad, label("nobody", SINCE + 2, True), outgoing(signal(1, SINCE))])
    run_flow(running, "retrain")
    assert [message.model.learned for message in candidates(project, running)] == [200]


def test_too_few_labels_since_the_change_bring_no_candidate(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=201))
    project.send([*world(running)[2], outgoing(signal(1, SINCE))])
    run_flow(running, "retrain")
    assert candidates(project, running) == []


@pytest.mark.parametrize("body", [b"not a signal", b"{}", signal(1).to_json().replace(b"adwin", b"magic")])
def test_what_is_no_signal_becomes_a_dead_letter(project: Project, body: bytes) -> None:
    project.send([Outgoing("flight_delays.drift", body, timestamp=NOON)])
    run_flow(project.engine(), "retrain")
    (letter,) = project.records("dead-letters")
    assert (letter.value, dict(letter.headers)["reason"]) == (body, b"schema")


@pytest.mark.parametrize(
    "change",
    [{"level": "warning"}, {"status": "resolved"}, {"kind": "feature", "detector": "psi"}],
    ids=["warning", "resolved", "feature"],
)
def test_only_an_alarm_of_concept_drift_brings_a_candidate(project: Project, change: dict) -> None:
    other = changed(signal(1, SINCE), **change)
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    project.send([*world(running)[2], outgoing(other)])
    run_flow(running, "retrain")
    assert candidates(project, running) == []
    assert project.records("dead-letters") == []


def test_a_flow_that_lost_its_state_sends_no_candidate_twice(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    project.send([*world(running)[2], outgoing(signal(1, SINCE)), outgoing(signal(2, SINCE))])
    run_flow(running, "retrain")
    running.state.recovery_dir("retrain").rename(project.directory / "lost")
    project.send([outgoing(signal(3, SINCE))])
    run_flow(running, "retrain")
    assert [message.model.version for message in candidates(project, running)] == ["v2", "v3", "v4"]
