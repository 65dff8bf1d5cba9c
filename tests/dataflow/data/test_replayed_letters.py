"""What becomes of dead letters that are sent again."""

import pytest
from harness import Project, run_flow
from made_flights import NOON, event

from flows.core.stream.broker import Broker, Outgoing
from flows.jobs.dead_letters import LetterFilter, LetterOutcome, letters, replay_and_wait

BROKEN = Outgoing("flights", b'\xff[red]"', b"k", timestamp=NOON)


@pytest.fixture
def project_with_letters(project: Project) -> Project:
    """Return a project with dead letters: bytes that are no JSON, a duplicate, and an alert."""
    running = project.engine()
    project.send([BROKEN, event("F1", NOON), event("F1", NOON)])
    run_flow(running, "predict")
    headers = dict(project.records("dead-letters")[0].headers)
    alert = headers | {"id": b"dead:a", "reason": b"undeliverable", "topic": b"flight_delays.drift"}
    project.send([Outgoing(running.pipeline.topic("dead-letters"), b"{}", headers=tuple(alert.items()))])
    return project


def replayed(project: Project, broker: Broker) -> LetterOutcome:
    running = project.engine()
    chosen = letters(running.pipeline, broker, LetterFilter())
    return replay_and_wait(broker, running.pipeline, chosen, 0)


def test_letters_that_no_flow_has_read_yet_are_said_to_be_sent(project_with_letters: Project) -> None:
    with project_with_letters.broker() as broker:
        outcome = replayed(project_with_letters, broker)
    assert outcome == LetterOutcome(2, {"flight_delays.drift": 1}, 0, [], is_read=False)
    sent = project_with_letters.records("flights")[3:]
    assert [record.value for record in sent] == [BROKEN.value, event("F1", NOON).value]


def test_letters_of_before_are_no_failures_of_a_replay(project_with_letters: Project) -> None:
    with project_with_letters.broker() as broker:
        replayed(project_with_letters, broker)
        run_flow(project_with_letters.engine(), "predict")
        assert len(project_with_letters.records("dead-letters")) == 5
        assert replayed(project_with_letters, broker).failed == 0
