"""`driftline run` with the server beside the flows: on the embedded log, by default."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from harness import DRIFTLINE, PATIENCE, Project, Running, free_ports, wait_until
from made_flights import NOON, event
from served import address

from flows.cli.serving.beside import server_jobs
from flows.errors import ConfigError
from flows.runtime.runner import FLOWS
from flows.runtime.supervisor import Job

OF_THE_SERVER = ("httptools", "uvloop")  # packages with native code, which maps show
WITHOUT_EXTRA = "import sys; sys.modules['uvicorn'] = None; from flows.cli.app import main; main()"


@contextmanager
def started(project: Project, *command: str | Path) -> Iterator[Running]:
    running = project.start(*command)
    try:
        yield running
    finally:
        running.kill()


def answers(url: str, path: str = "/v2/health/ready") -> bool:
    try:
        return httpx.get(f"{url}{path}", timeout=PATIENCE, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def predicts(project: Project, name: str) -> None:
    """Publish an event, and wait for its prediction."""
    project.send([event(name, NOON)])
    wait_until(lambda: name in [value["id"] for value in project.values("predictions")], PATIENCE)


def native_packages(pid: int) -> set[str]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in OF_THE_SERVER if f"/{name}/" in maps}


def test_the_dashboard_runs_beside_the_flows_and_comes_back_after_a_kill(project: Project) -> None:
    project = project.with_settings(HTTP_PORT=0, SERVE_PORT=free_ports(11))
    with started(project, DRIFTLINE, "run") as running:
        url = address(running)
        wait_until(lambda: answers(url), PATIENCE)
        assert "<title>Driftline" in httpx.get(url, trust_env=False).text
        predicts(project, "F1")
        wait_until(lambda: running.pids().keys() == {*FLOWS, "serve"}, PATIENCE)
        pids = running.pids()
        hot = ("predict", "learn", "alert", "retrain")  # materialize imports Feast, and that what it likes
        assert native_packages(pids["serve"]) == set(OF_THE_SERVER)
        assert not {flow: found for flow in hot if (found := native_packages(pids[flow]))}
        os.kill(pids["serve"], signal.SIGKILL)
        wait_until(lambda: running.pids()["serve"] != pids["serve"], PATIENCE)
        wait_until(lambda: answers(url), PATIENCE)
        assert {flow: running.pids()[flow] for flow in FLOWS} == {flow: pids[flow] for flow in FLOWS}
        assert running.stop() == 0, running.said()
        assert not answers(url)


def test_two_projects_have_a_dashboard_each_on_one_machine(applied: Project, tmp_path: Path) -> None:
    port = free_ports(11)
    chosen = {"HTTP_PORT": 0, "SERVE_PORT": port}
    one, two = (applied.copy_to(tmp_path / name).with_settings(**chosen) for name in ("one", "two"))
    with started(one, DRIFTLINE, "run") as first:
        assert address(first) == f"http://127.0.0.1:{port}"
        with started(two, DRIFTLINE, "run", "--together") as second:
            assert address(second) == f"http://127.0.0.1:{port + 1}"
            assert f"port {port} is in use, so another one is taken" in second.said()
            wait_until(lambda: answers(address(first)) and answers(address(second)), PATIENCE)
            predicts(two, "F1")
            assert second.stop() == 0, second.said()


def test_the_flows_run_without_a_server_that_may_not_start(project: Project) -> None:
    project = project.with_settings(HTTP_PORT=0, SERVE_HOST="0.0.0.0", SERVE_PORT=0)  # noqa: S104
    with started(project, DRIFTLINE, "run") as running:
        predicts(project, "F1")
        wait_until(lambda: "the flows run without serve" in running.said(), PATIENCE)
        assert "make one with `driftline tokens create" in running.said()
        assert running.stop() == 0, running.said()


def test_without_the_extra_a_line_says_how_to_get_it_and_the_flows_run(project: Project) -> None:
    project = project.with_settings(HTTP_PORT=0)
    with started(project, sys.executable, "-c", WITHOUT_EXTRA, "run") as running:
        predicts(project, "F1")
        (line,) = [each for each in running.said().splitlines() if "dashboard" in each]
        assert "run `pip install 'driftline[serve]'`" in line
        assert "serve" not in running.pids()
        assert running.stop() == 0, running.said()
    asked = project.start(sys.executable, "-c", WITHOUT_EXTRA, "run", "--serve")
    assert asked.process.wait(PATIENCE) == 2
    assert "the server needs uvicorn; run `pip install" in asked.said()


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_the_server_runs_by_default_beside_all_flows_on_the_embedded_log_only(project: Project) -> None:
    embedded = project.engine()
    kafka = replace(embedded, settings=replace(embedded.settings, broker="kafka://127.0.0.1:9"))
    assert names(server_jobs(embedded, FLOWS, None)) == ["serve"]
    assert server_jobs(embedded, FLOWS, False) == []
    assert server_jobs(embedded, FLOWS[:4], None) == []
    assert server_jobs(kafka, FLOWS, None) == []
    assert names(server_jobs(kafka, FLOWS[:1], True)) == ["serve"]


def test_the_server_that_is_asked_for_needs_its_extra(project: Project, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ConfigError, match="the server needs fastapi"):
        server_jobs(project.engine(), FLOWS, True)
