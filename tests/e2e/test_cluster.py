"""Several processes for one flow: killed, and of another number after a restart."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from harness import PATIENCE, Project, Running, lag, run_flow, wait_until
from made_parted import flights, in_partitions, served

FLIGHTS = 1_500


@pytest.fixture(scope="module")
def partitioned(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The example with three partitions. For copying only."""
    return in_partitions(applied.copy_to(tmp_path_factory.mktemp("partitioned") / "project"))


def grown(project: Project, beyond: int) -> bool:
    return len(project.records("predictions")) > beyond


def kill(running: Running, process: str) -> None:
    """Kill one process, and wait until the supervisor has started all of the flow again."""
    before = running.pids()
    os.kill(before[process], signal.SIGKILL)
    wait_until(lambda: all(running.pids()[name] != pid for name, pid in before.items()), PATIENCE)


def test_killed_processes_and_another_number_of_them_lose_and_repeat_nothing(
    partitioned: Project, kafka: str, tmp_path: Path
) -> None:
    project = partitioned.copy_to(tmp_path / "project").on_kafka(kafka)
    project = project.with_settings(HTTP_PORT=0, BATCH=20, EPOCH_SECONDS=0.2)
    parts = [flights(0, 500), flights(500, 1_000), flights(1_000, FLIGHTS)]
    engine = project.engine()
    with project.broker() as broker:
        for processes, records in zip(("2", "3", "1"), parts, strict=True):
            done = len(project.records("predictions"))
            with project.flows("predict", "--processes", processes) as running:
                project.send(records)
                if processes != "1":
                    wait_until(lambda: grown(project, done + 50), PATIENCE)  # noqa: B023
                    kill(running, "predict-1")
                wait_until(lambda: lag(broker, engine, "predict") == 0, PATIENCE)
                wait_until(lambda: grown(project, done + 499), PATIENCE)  # noqa: B023
                assert running.stop() == 0, running.said()

    clean = partitioned.copy_to(tmp_path / "clean")
    clean.make_topics()
    for records in parts:
        clean.send(records)
    run_flow(clean.engine(), "predict")
    assert Counter(p["id"] for p in project.values("predictions")) == dict.fromkeys(served(clean), 1)
    assert served(project) == served(clean)
    assert len(served(clean)) == FLIGHTS


def test_more_processes_than_partitions_are_refused(project: Project) -> None:
    outcome = project.run("run", "predict", "--processes", "2")
    assert outcome.returncode == 2
    assert "--processes 2 is more than the 1 partitions of flight_delays" in outcome.stderr
