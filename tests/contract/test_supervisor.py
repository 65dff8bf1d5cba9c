"""The end of a flow with several processes, its exit code, a flow that hangs, and one that is dispensable."""

import faulthandler
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from harness import wait_until

from flows.host.children import Children
from flows.runtime.runner import DUMP_STACKS, EXIT_AGAIN, EXIT_FAULT, EXIT_MISTAKE, ProcessPlace
from flows.runtime.supervisor import Job, Supervisor, _Child


def cannot_start(_place: ProcessPlace) -> int:
    return EXIT_MISTAKE


PREDICT = Job("predict", cannot_start)
SERVE = Job("serve", cannot_start, dispensable=True)


def in_a_hang(hangs: Path) -> int:
    faulthandler.register(DUMP_STACKS)
    hangs.touch()
    time.sleep(600)
    return 0


class Process:
    def __init__(self, code: int | None) -> None:
        self._code = code

    @property
    def exitcode(self) -> int | None:
        return self._code

    def join(self, timeout: float) -> None:
        assert self._code is not None


@pytest.mark.parametrize(
    ("codes", "end"),
    [
        ([None, None], None),
        ([None, EXIT_FAULT], EXIT_FAULT),
        ([EXIT_FAULT, EXIT_MISTAKE], EXIT_MISTAKE),
        ([EXIT_AGAIN, None], None),  # killing the other one would cost it its last epoch
        ([EXIT_AGAIN, EXIT_AGAIN], EXIT_AGAIN),
        ([EXIT_AGAIN, -9, None], -9),
        ([EXIT_AGAIN, 0, None], 0),
    ],
)
def test_a_flow_has_ended_with_its_first_crash_and_in_order_when_all_its_processes_have(
    codes: list[int | None], end: int | None
) -> None:
    processes: Any = [Process(code) for code in codes]
    assert _Child(PREDICT, processes).end() == end


@pytest.mark.parametrize(
    ("codes", "end"),
    [([0, EXIT_AGAIN, -signal.SIGTERM], 0), ([0, EXIT_FAULT], 1), ([-signal.SIGKILL, 0], 1)],
)
def test_a_shutdown_is_in_order_unless_a_flow_had_crashed_and_was_not_started_again(
    codes: list[int], end: int
) -> None:
    supervisor = Supervisor([], [].append)
    processes: list[Any] = [Process(code) for code in codes]
    supervisor._children = [_Child(PREDICT, [process]) for process in processes]
    failed: Any = Process(EXIT_FAULT)
    supervisor._children.append(_Child(SERVE, [failed]))
    assert supervisor._drain_all() == end


def until_asked(_place: ProcessPlace) -> int:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    while not asked:
        time.sleep(0.01)
    return 0


def test_the_others_run_on_without_a_dispensable_job_that_cannot_start() -> None:
    said: list[str] = []
    supervisor = Supervisor([Job("predict", until_asked), SERVE], said.append)
    ended: list[int] = []
    thread = Thread(target=lambda: ended.append(supervisor.run()))
    thread.start()
    wait_until(lambda: "the flows run without serve" in said)
    assert not ended
    supervisor.stop()
    thread.join()
    assert ended == [0]
    assert [line.partition(" (")[0] for line in said] == [
        "predict started",
        "serve started",
        "the flows run without serve",
        "draining",
    ]


def test_a_job_that_is_needed_and_cannot_start_ends_the_others() -> None:
    mistaken = Job("learn", cannot_start)
    assert Supervisor([Job("predict", until_asked), mistaken], [].append).run() == EXIT_MISTAKE


def test_a_flow_that_does_not_drain_tells_where_it_stood_before_it_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    children = Children()
    process = children.start("learn", in_a_hang, tmp_path / "hangs")
    wait_until((tmp_path / "hangs").exists)
    said: list[str] = []
    supervisor = Supervisor([], said.append)
    assert supervisor._wait_for("learn", process, deadline=0.0) == -signal.SIGKILL
    assert said == ["learn did not drain within 30 s; killed. Its stacks:"]
    assert "in in_a_hang" in capfd.readouterr().err
