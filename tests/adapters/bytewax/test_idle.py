"""How long a worker sleeps when its sources have no records."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest

from flows.adapters.bytewax.idle import SHORT, Idle, WorkerIdle

LONGEST = 60.0


class Waits:
    """A broker that notes its waits and returns from them at once."""

    def __init__(self) -> None:
        self.made: list[tuple[Sequence[Any], float]] = []

    def wait(self, consumers: Sequence[Any], timeout: float) -> None:
        self.made.append((consumers, timeout))


class Unfinished:
    def __init__(self, finished: bool) -> None:
        self.finished = finished

    def is_unfinished(self) -> bool:
        return not self.finished


def idle_with(*slots: str) -> WorkerIdle:
    idle = Idle(LONGEST).of_worker()
    for slot in slots:
        idle.add_slot(slot)
    return idle


def slept(idle: WorkerIdle, slot: str = "a", until: float = float("inf")) -> float:
    """Return the seconds that a slot without records lets the worker sleep."""
    broker: Any = Waits()
    assert idle.rest(slot, broker, slot, until)  # type: ignore[arg-type]
    [(consumers, seconds)] = broker.made
    assert consumers == [slot]
    return float(seconds)


def test_a_worker_with_nothing_to_do_sleeps_as_long_as_it_may() -> None:
    assert slept(idle_with("a")) == LONGEST


def test_a_worker_sleeps_only_when_every_slot_has_no_records_since_any_had_some() -> None:
    idle, broker = idle_with("a", "b"), Waits()
    consumers: Any = "of a", "of b"
    assert not idle.rest("a", broker, consumers[0])  # type: ignore[arg-type]
    idle.has_records()
    assert not idle.rest("b", broker, consumers[1])  # type: ignore[arg-type]
    assert broker.made == []
    assert idle.rest("a", broker, consumers[0])  # type: ignore[arg-type]
    assert [sorted(waited) for waited, _ in broker.made] == [sorted(consumers)]
    assert not idle.rest("b", broker, consumers[1])  # type: ignore[arg-type]


def test_a_slot_that_is_closed_keeps_nobody_awake() -> None:
    idle = idle_with("a", "b")
    idle.remove_slot("b")
    assert slept(idle) == LONGEST


def test_a_worker_sleeps_no_longer_than_to_the_next_timer_or_the_end_of_a_rest() -> None:
    idle = idle_with("a")
    idle.set_timer("late", datetime.now(UTC) + timedelta(seconds=50))
    idle.set_timer("early", datetime.now(UTC) + timedelta(seconds=20))
    assert 10 < slept(idle) <= 20
    assert 0 < slept(idle, until=time.monotonic() + 5) <= 5
    idle.set_timer("early", None)
    assert 40 < slept(idle) <= 50


def test_a_timer_that_is_late_lets_the_worker_sleep_a_little_all_the_same() -> None:
    idle = idle_with("a")
    idle.set_timer("late", datetime.now(UTC) - timedelta(hours=1))
    assert 0 < slept(idle) < SHORT


def test_a_worker_only_naps_while_records_are_not_acknowledged() -> None:
    idle, sink = idle_with("a"), Unfinished(finished=False)
    idle.watch("sink", sink)
    assert slept(idle) == SHORT
    sink.finished = True
    assert slept(idle) == LONGEST
    idle.watch("sink", Unfinished(finished=False))
    idle.watch("sink", None)
    assert slept(idle) == LONGEST


def test_a_worker_only_naps_until_all_slots_have_ended_the_epoch() -> None:
    """Bytewax emits nothing from a slot that is an epoch ahead."""
    idle = idle_with("a", "b")
    idle.end_epoch("b")
    idle.rest("b", Waits(), None)  # type: ignore[arg-type]
    assert slept(idle) == SHORT
    idle.end_epoch("a")
    idle.rest("b", Waits(), None)  # type: ignore[arg-type]
    assert slept(idle) == LONGEST


def test_a_worker_whose_slots_all_rest_waits_for_no_record() -> None:
    idle, broker = idle_with("a"), Waits()
    until = time.monotonic() + 0.01
    assert idle.rest("a", broker, None, until)  # type: ignore[arg-type]
    assert time.monotonic() >= until
    assert broker.made == []


def test_each_thread_is_a_worker_of_its_own() -> None:
    idle, found = Idle(LONGEST), list[WorkerIdle]()
    thread = Thread(target=lambda: found.append(idle.of_worker()))
    thread.start()
    thread.join()
    assert idle.of_worker() is idle.of_worker()
    assert found[0] is not idle.of_worker()


@pytest.mark.parametrize("longest", [SHORT, LONGEST])
def test_the_workers_of_a_flow_sleep_as_long_as_the_flow_may(longest: float) -> None:
    idle = Idle(longest).of_worker()
    idle.add_slot("a")
    assert slept(idle) == longest
