"""The flows as processes: health, shutdown, and Bytewax's own command."""

import os
import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness import DRIFTLINE, PATIENCE, Project, free_ports, is_flow, lag, wait_until
from made_flights import NOON, event, traffic

from flows.runtime.runner import FLOWS

HOT = ("predict", "learn", "alert", "retrain")
HEAVY = ("scipy", "pandas", "pyarrow", "feast", "duckdb", "sklearn")


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answers(port: int) -> bool:
    try:
        return get(port, "/readyz") == (200, "ok\n")
    except OSError:
        return False


def test_each_flow_tells_its_health_on_loopback_only(project: Project) -> None:
    port = free_ports(5)
    with project.with_settings(HTTP_PORT=port).flows("predict", "retrain") as running:
        wait_until(lambda: answers(port) and answers(port + 4), PATIENCE)
        for flow, at in (("predict", port), ("retrain", port + 4)):
            assert get(at, "/healthz") == (200, "ok\n")
            metrics = get(at, "/metrics")[1]
            assert f'driftline_process_info{{flow="{flow}",pipeline="flight_delays"}} 1.0' in metrics
            with pytest.raises(OSError, match="refused"):
                get(at, "/healthz", host="127.0.0.2")  # whoever listens on all interfaces answers there too
        assert running.stop() == 0, running.said()


def proportional_memory(pid: int) -> int:
    """Return the MB of a process; of a page that n processes share it has an n-th."""
    (kilobytes,) = re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(kilobytes) // 1024


def loaded(pid: int) -> set[str]:
    """Return the packages with native code that a process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return set(re.findall(r"/site-packages/([^/]+)/", maps))


def test_the_hot_flows_load_no_data_frames_and_the_five_flows_take_half_a_gigabyte(project: Project) -> None:
    records = traffic(200)
    with project.with_settings(HTTP_PORT=0).flows() as running, project.broker() as broker:
        engine = project.engine()
        project.send(records[: len(records) // 2])
        wait_until(lambda: running.pids().keys() >= set(FLOWS), PATIENCE)
        wait_until(lambda: len(project.values("metrics")) > 0, PATIENCE)
        project.send(records[len(records) // 2 :])
        wait_until(lambda: not any(lag(broker, engine, flow) for flow in FLOWS), PATIENCE)
        pids = running.pids()
        assert not {flow: found for flow in HOT if (found := loaded(pids[flow]) & set(HEAVY))}
        assert "pyarrow" in loaded(pids["materialize"])  # such a package would be seen
        memory = {flow: proportional_memory(pid) for flow, pid in pids.items()}
        assert all(memory[flow] <= 150 for flow in HOT), memory
        assert sum(memory.values()) + proportional_memory(running.process.pid) <= 500, memory
        assert running.stop() == 0, running.said()


def test_a_shutdown_before_the_flows_have_begun_is_none_the_less_clean(project: Project) -> None:
    with project.with_settings(HTTP_PORT=0).flows() as running:
        wait_until(lambda: "retrain" in running.pids(), PATIENCE)
        assert running.stop() == 0, running.said()


def test_a_second_engine_on_the_same_state_refuses_and_the_first_goes_on(project: Project) -> None:
    with project.with_settings(HTTP_PORT=0).flows("predict") as running:
        project.send([event("F1", NOON)])
        wait_until(lambda: len(project.records("predictions")) == 1, PATIENCE)
        second = project.start(
            sys.executable, "-m", "flows.runtime.runner", "predict", DRIFTLINE_HTTP_PORT="0"
        )
        assert second.process.wait(PATIENCE) == 2
        assert "another process runs predict of flight_delays already" in second.said()
        again = project.run("run", "retrain", "predict", "--processes", "1")
        assert again.returncode == 2
        (line,) = again.stderr.splitlines()
        assert line.startswith("driftline: another process runs predict of flight_delays already")
        project.send([event("F2", NOON + 1)])
        wait_until(lambda: len(project.records("predictions")) == 2, PATIENCE)
        assert running.stop() == 0, running.said()


def test_flows_whose_supervisor_was_killed_drain_and_end(project: Project) -> None:
    with project.with_settings(HTTP_PORT=0).flows("predict", "learn") as running:
        project.send([event("F1", NOON)])
        wait_until(lambda: len(project.records("predictions")) == 1, PATIENCE)
        flows = running.pids()
        running.process.kill()
        wait_until(lambda: not any(map(is_flow, flows.values())), PATIENCE)
    project.send([event("F2", NOON + 1)])
    with project.with_settings(HTTP_PORT=0).flows("predict") as running:
        wait_until(lambda: len(project.records("predictions")) == 2, PATIENCE)
        assert running.stop() == 0, running.said()
    assert [p["id"] for p in project.values("predictions")] == ["F1", "F2"]


def test_one_process_runs_all_flows_and_a_killed_one_resumes(project: Project) -> None:
    records = traffic(100)
    half = len(records) // 2
    running = project.with_settings(HTTP_PORT=0).start(DRIFTLINE, "run", "--together", "--no-serve")
    try:
        project.send(records[:half])
        wait_until(lambda: len(project.records("metrics")) > 0, PATIENCE)
        (first,) = running.pids().values()
        os.kill(first, signal.SIGKILL)
        project.send(records[half:])
        with project.broker() as broker:
            engine = project.engine()
            wait_until(lambda: not any(lag(broker, engine, flow) for flow in FLOWS), PATIENCE)
        (second,) = running.pids().values()
        assert second != first
        assert running.stop() == 0, running.said()
    finally:
        running.kill()
    assert [p["id"] for p in project.values("predictions")] == [f"F{n:05}" for n in range(100)]
    assert project.values("metrics")[-1]["labels"] == 100


def test_events_can_be_published_before_any_flow_runs(project: Project) -> None:
    (project.directory / "one.jsonl").write_bytes(event("F1", NOON).value)
    outcome = project.run("publish", "one.jsonl")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert len(project.records("flights")) == 1


def test_bytewax_itself_runs_a_flow_with_recovery_and_resumes_it(project: Project) -> None:
    records = traffic(200)
    half = len(records) // 2
    state = project.directory / "state"
    state.mkdir()
    prepared = project.start(sys.executable, "-m", "bytewax.recovery", state, "1")
    assert prepared.process.wait(PATIENCE) == 0, prepared.said()
    done = 0
    for part in (records[:half], records[half:]):
        project.send(part)
        done += sum(record.topic == "flights" for record in part)
        running = project.start(
            sys.executable, "-m", "bytewax.run", "flows.predict", "-r", state, "-s", "1", "-b", "0"
        )
        try:
            wait_until(lambda: len(project.records("predictions")) >= done, PATIENCE)  # noqa: B023
            assert running.stop() == 0, running.said()
        finally:
            running.kill()
    assert [p["id"] for p in project.values("predictions")] == [f"F{n:05}" for n in range(200)]
