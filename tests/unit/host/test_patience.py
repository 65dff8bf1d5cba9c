"""A command that waits gives the reason after some seconds, and stops after its timeout."""

import pytest

from flows.errors import DriftlineError
from flows.host import patience
from flows.host.patience import SAID_AFTER, Patience, Stall


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(patience, "time", Clock())
    return []


def stall() -> Stall:
    return Stall("the predict flow does not run", 60.0)


def test_a_short_wait_is_not_mentioned(said):
    waiting = Patience(said.append)
    waiting.wait(SAID_AFTER, stall)
    waiting.wait(1.0, stall)
    assert said == []


def test_a_longer_wait_is_explained_once(said):
    waiting = Patience(said.append)
    for _ in range(20):
        waiting.wait(1.0, stall)
    assert said == ["waiting: the predict flow does not run"]


def test_progress_begins_the_wait_again(said):
    waiting = Patience(said.append)
    for _ in range(100):
        waiting.wait(1.0, stall)
        waiting.moved()
    assert said == []


def test_without_progress_the_wait_ends_with_its_reason(said):
    waiting = Patience(said.append)
    for _ in range(61):
        waiting.wait(1.0, stall)
    with pytest.raises(DriftlineError, match="the predict flow does not run"):
        waiting.wait(1.0, stall)
    assert len(said) == 1
