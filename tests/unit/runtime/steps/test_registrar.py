"""The registrar: what it enters for each change, and what it enters again after a crash."""

from collections.abc import Sequence
from typing import Any

import pytest
from registry_entries import NAME, SEALER, entries, new_ledger, on_topic
from river import linear_model, metrics

from flows.core.evaluation.evaluation import Evaluation
from flows.core.learning.events import Cause, RoleChange
from flows.core.learning.learner import Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.registry.command import CommandSealer
from flows.core.registry.ledger import LATE
from flows.core.registry.registry import Registry
from flows.runtime.steps.registrar import CHECKPOINT, ENGINE, Registrar

SECRET = b"a secret of thirty-two bytes, ok"
POLICY = Policy(label_wait=1000, delta=0.002, warm_up=100, cool_down=0, contests=ContestPolicy(0.01, 1000, 5))
BORN = RoleChange("challenger", Model("v2", linear_model.LogisticRegression(), 7), Cause("alarm", "an alarm"))


def learner() -> Learner:
    return Learner(
        NAME, POLICY, ("a",), Model("v1", linear_model.LogisticRegression()), Evaluation(metrics.LogLoss)
    )


def registrar(log: Sequence[Any] = (), stored: int = 0, steps: int = 0) -> Registrar:
    """Return a registrar whose stored state includes so many entries of the log."""
    links = [SEALER.open(record) for record in on_topic(log)]
    ledger = new_ledger(Registry(links[:stored]), links[stored:])
    learns = learner()
    learns.steps = steps
    return Registrar(learns, ledger, CommandSealer(NAME, [SECRET]), Sealer(SECRET))


def changes(records: Sequence[Any]) -> list[tuple[str, str]]:
    return [(entry.change, entry.version) for entry in entries(on_topic(records))]


def test_the_first_entries_are_the_birth_and_the_promotion_of_the_declared_model():
    first = registrar()
    assert changes(first.due()) == [("born", "v1"), ("promoted", "v1")]
    assert first.wakes_at == CHECKPOINT


@pytest.mark.parametrize(
    ("role", "kind", "change"),
    [
        ("challenger", "canary", "canary"),
        ("challenger", "contest", "demoted"),
        ("champion", "contest", "promoted"),
        ("retired", "contest", "retired"),
    ],
)
def test_a_change_of_a_known_version_has_one_entry(role: Any, kind: Any, change: str):
    known = registrar()
    assert changes(known.due() + known.enter(BORN, ENGINE))[-1] == ("born", "v2")
    changed = RoleChange(role, BORN.model, Cause(kind, "a test"))
    assert changes(known.enter(changed, ENGINE)) == [(change, "v2")]


def test_a_version_that_is_champion_when_it_is_first_known_has_two_entries():
    known = registrar()
    known.due()
    restored = RoleChange(
        "champion", Model("r3", linear_model.LogisticRegression()), Cause("command", "a test")
    )
    assert changes(known.enter(restored, ENGINE)) == [("born", "r3"), ("promoted", "r3")]


def test_after_a_crash_a_birth_that_the_log_has_is_entered_no_second_time_and_is_no_demotion():
    before = registrar()
    log = before.due() + before.enter(BORN, ENGINE)
    again = registrar(log)
    assert again.is_behind
    assert again.due() + again.enter(BORN, ENGINE) == []
    assert not again.is_behind
    assert again.entry == 3


def test_what_the_learner_does_not_come_to_again_is_reverted_and_may_follow_later(caplog):
    before = registrar()
    log = before.due() + before.enter(BORN, ENGINE)
    again = registrar(log, stored=2)
    again.due()
    assert again.wakes_at == LATE
    late = registrar(log, stored=2, steps=LATE)
    assert changes(late.due()) == [("reverted", "")]
    assert "after a crash the learner decided otherwise" in caplog.text
    assert changes(late.enter(BORN, ENGINE)) == [("born", "v2")]
