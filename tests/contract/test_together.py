"""Several flows in one process: the end of one drains the others, and its error is that of all."""

import threading
import time
from typing import Any

import pytest

from flows.errors import ConfigError
from flows.runtime import runner
from flows.runtime.engine import Engine
from flows.runtime.runner import EXIT_AGAIN, EXIT_FAULT


def engine() -> Engine:
    nothing: Any = None
    return Engine(nothing, nothing, nothing)


def ends(monkeypatch: pytest.MonkeyPatch, end: Any) -> list[str]:
    """Let the alert flow end by `end` while the others run; return the flows that drained, in a list."""
    drained: list[str] = []
    others = threading.Barrier(3, timeout=60)  # the alert flow does not end before the others run

    def run(engine: Engine, flow: str) -> int:
        others.wait()
        if flow == "alert":
            return end()
        while not engine.drain.is_set():
            time.sleep(0.001)
        drained.append(flow)
        return 0

    monkeypatch.setattr(runner, "_run_one", run)
    return drained


def mistake() -> int:
    raise ConfigError("DRIFTLINE_X must be a number, got 'x'")


def test_an_error_of_one_flow_drains_the_others_and_is_the_error_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drained = ends(monkeypatch, mistake)
    with pytest.raises(ConfigError, match="must be a number"):
        runner._run_together(engine(), ["predict", "learn", "alert"])
    assert sorted(drained) == ["learn", "predict"]


@pytest.mark.parametrize("code", [0, EXIT_AGAIN])
def test_a_flow_that_has_to_be_restarted_drains_the_others_and_restarts_all(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    drained = ends(monkeypatch, lambda: code)
    assert runner._run_together(engine(), ["predict", "learn", "alert"]) == code
    assert sorted(drained) == ["learn", "predict"]


def test_flows_that_do_not_drain_end_with_the_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    released = threading.Event()

    def run(_engine: Engine, flow: str) -> int:
        if flow == "predict":
            released.wait(60)
        return 0

    class Ended(Exception):
        pass

    def end(code: int) -> None:
        released.set()
        raise Ended(code)

    monkeypatch.setattr(runner, "_run_one", run)
    monkeypatch.setattr(runner, "GRACE", 0.01)
    monkeypatch.setattr(runner.os, "_exit", end)
    with pytest.raises(Ended) as ended:
        runner._run_together(engine(), ["predict", "learn"])
    assert ended.value.args == (EXIT_FAULT,)
    assert "test_together.py" in capfd.readouterr().err  # the stack of the one that hangs
