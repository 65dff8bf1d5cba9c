"""The intake of candidates: all of the newest trigger, each once, when the learner has read as much."""

from typing import Any

import pytest
from river import linear_model, metrics

from flows.core.evaluation.evaluation import Evaluation
from flows.core.learning.candidates.cuts import Cut
from flows.core.learning.candidates.intake import CUT, NOTHING_TAKEN, CandidateIntake, IntakeState
from flows.core.learning.events import Cause, RoleChange
from flows.core.learning.learner import Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Model, ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Record
from flows.errors import StaleSnapshot

SEALER = Sealer(b"a secret of thirty-two bytes or more", [linear_model.LogisticRegression()])
TOPICS = ("labels", "p.predictions")
CONTESTS = ContestPolicy(significance=0.05, patience=400, block=10, challengers=9)
POLICY = Policy(10**9, 0.002, 100, 0, CONTESTS)


def intake(state: IntakeState = NOTHING_TAKEN) -> CandidateIntake:
    return CandidateIntake("p", "binary", TOPICS, SEALER, state)


def learner() -> Learner:
    champion = Model("v1", linear_model.LogisticRegression())
    return Learner("p", POLICY, ("a",), champion, Evaluation(metrics.LogLoss))


def candidate(version: str, sequence: int = 7, cut: Cut | None = None, **lineage: Any) -> Record:
    found = {**lineage, **({} if cut is None else {CUT: cut.to_json()})}
    model = Model(version, linear_model.LogisticRegression(), 40)
    message = ModelMessage("p", "candidate", sequence, model, found, sequence)
    out = SEALER.record("p.models", message)
    return Record("p.models", 0, sequence, sequence, out.key, out.value, out.headers)


def read(topic: str, offset: int) -> Record:
    return Record(topic, 0, offset, 0, None, None, ())


def admitted(found: CandidateIntake, learning: Learner) -> list[str]:
    """Admit all candidates that are ready; return the versions of the new challengers."""
    versions = []
    while (record := found.next_ready()) is not None:
        events = found.admit(record, learning)
        versions += [event.model.version for event in events if isinstance(event, RoleChange)]
    return versions


def test_all_candidates_of_one_trigger_become_challengers_and_none_twice():
    found, learning = intake(), learner()
    for version in ("v2-warm", "v2-fresh", "v2-warm"):
        found.take(candidate(version), learning)
    assert admitted(found, learning) == ["v2-warm", "v2-fresh"]
    found.take(candidate("v2-fresh"), learning)
    assert admitted(found, learning) == []


def test_a_candidate_of_an_older_trigger_is_refused_and_of_a_newer_one_is_taken():
    found, learning = intake(), learner()
    found.take(candidate("v3-fresh", sequence=8), learning)
    with pytest.raises(StaleSnapshot, match="must answer the trigger number 8 or a later one, got one for 7"):
        found.take(candidate("v2-fresh", sequence=7), learning)
    found.take(candidate("v4-fresh", sequence=9), learning)
    assert admitted(found, learning) == ["v3-fresh", "v4-fresh"]


def test_a_candidate_waits_until_the_learner_has_read_what_its_training_read():
    found, learning = intake(), learner()
    found.take(candidate("v2-fresh", cut=Cut(0, {0: 3}, {0: 5})), learning)
    assert found.next_ready() is None
    found.advance([read("labels", 2), read("p.predictions", 3)])
    assert found.next_ready() is None
    found.advance([read("p.predictions", 4)])
    assert admitted(found, learning) == ["v2-fresh"]


def test_the_state_keeps_what_waits_and_what_was_read():
    found, learning = intake(), learner()
    found.take(candidate("v2-fresh", cut=Cut(0, {0: 3}, {0: 5})), learning)
    found.advance([read("labels", 2), read("p.predictions", 3)])
    again = intake(IntakeState(*tuple(found.state())))
    again.take(candidate("v2-fresh", cut=Cut(0, {0: 3}, {0: 5})), learning)  # a repetition
    again.advance([read("p.predictions", 4)])
    assert admitted(again, learning) == ["v2-fresh"]
    with pytest.raises(StaleSnapshot):
        again.take(candidate("v1-fresh", sequence=6), learning)


def test_a_challenger_has_the_cause_of_its_trigger_and_no_cut_in_its_lineage():
    found, learning = intake(), learner()
    cut = Cut(0, {}, {})
    found.take(candidate("f1", cut=cut, cause="floor", why="a metric fell", trained_on=33), learning)
    record = found.next_ready()
    assert record is not None
    (change,) = found.admit(record, learning)
    assert isinstance(change, RoleChange)
    assert change.cause == Cause("floor", "a metric fell", {"labels": 33})
    assert learning.lineage["f1"] == {"cause": "floor", "why": "a metric fell", "trained_on": 33}


@pytest.mark.parametrize(("pipeline", "role"), [("q", "candidate"), ("p", "champion")])
def test_no_other_message_is_a_candidate(pipeline: str, role: Any):
    message = ModelMessage(pipeline, role, 7, Model("v2", linear_model.LogisticRegression()), {}, 7)
    out = SEALER.record("p.models", message)
    with pytest.raises(StaleSnapshot, match="a candidate must be one of pipeline 'p' and task 'binary'"):
        intake().take(Record("p.models", 0, 0, 7, out.key, out.value, out.headers), learner())
