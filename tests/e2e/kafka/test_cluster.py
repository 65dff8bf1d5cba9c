"""A flow with several processes, on one host or two: kills, and another number after a restart."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness import PATIENCE, Project, Running, lag, run_flow, wait_until
from made_parted import flights, in_partitions, served
from namespaces import Host, two_hosts

from flows.core.stream.broker import Outgoing

PART = 200  # flights


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


@pytest.mark.long  # the short form of scripts/chaos kills clusters too
def test_killed_processes_and_another_number_of_them_lose_and_repeat_nothing(
    partitioned: Project, kafka: str, tmp_path: Path
) -> None:
    project = partitioned.copy_to(tmp_path / "project").on_kafka(kafka)
    project = project.with_settings(HTTP_PORT=0, BATCH=8, EPOCH_SECONDS=0.2)
    parts = [flights(start, start + PART) for start in (0, PART, 2 * PART)]
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
                wait_until(lambda: grown(project, done + PART - 1), PATIENCE)  # noqa: B023
                assert running.stop() == 0, running.said()

    assert_as_clean(project, partitioned.copy_to(tmp_path / "clean"), parts)


def assert_as_clean(project: Project, clean: Project, parts: list[list[Outgoing]]) -> None:
    """Its predictions are those of one process that ran through."""
    clean.make_topics()
    for records in parts:
        clean.send(records)
    run_flow(clean.engine(), "predict")
    assert Counter(p["id"] for p in project.values("predictions")) == dict.fromkeys(served(clean), 1)
    assert served(project) == served(clean)
    assert len(served(clean)) == sum(map(len, parts)) // 2


def test_more_processes_than_partitions_are_refused(project: Project) -> None:
    outcome = project.run("run", "predict", "--processes", "2")
    assert outcome.returncode == 2
    assert "--processes must be at most 1, the partitions of flight_delays, got 2" in outcome.stderr


def start_on(hosts: Sequence[Host], projects: Sequence[Project]) -> list[Running]:
    """The predict flow as one process on each host."""
    addresses = [f"{host.address}:2101" for host in hosts]
    return [
        project.start(
            *host.command,
            *(sys.executable, "-m", "flows.runtime.runner", "predict"),
            *("--process", str(number), "--addresses", *addresses),
        )
        for number, (host, project) in enumerate(zip(hosts, projects, strict=True))
    ]


def drain(running: Sequence[Running]) -> None:
    """Let all drain at once: each waits for the others."""
    for each in running:
        each.process.send_signal(signal.SIGTERM)
    assert [each.process.wait(PATIENCE) for each in running] == [0, 0]


def end(running: Sequence[Running]) -> None:
    for each in running:
        each.kill()


def test_a_flow_on_two_hosts_of_which_one_is_killed_loses_and_repeats_nothing(
    partitioned: Project, kafka: str, tmp_path: Path
) -> None:
    project = partitioned.copy_to(tmp_path / "project").on_kafka(kafka)
    project = project.with_settings(HTTP_PORT=0, BATCH=20, EPOCH_SECONDS=0.2)
    parts = [flights(0, 300), flights(300, 600)]
    engine = project.engine()
    with two_hosts() as hosts, project.broker() as broker:
        for host in hosts:
            host.reaches(int(kafka.rpartition(":")[2]))
        project.send(parts[0])
        running = start_on(hosts, [project, project])
        try:
            wait_until(lambda: grown(project, 50), PATIENCE)
            running[1].process.kill()
            assert running[0].process.wait(PATIENCE) == 1
            assert "worker processes lost contact" in running[0].said()

            running = start_on(hosts, [project, project])
            project.send(parts[1])
            wait_until(lambda: grown(project, 599) and lag(broker, engine, "predict") == 0, PATIENCE)
            drain(running)
        finally:
            end(running)
    assert_as_clean(project, partitioned.copy_to(tmp_path / "clean"), parts)


def test_a_host_with_a_state_directory_of_its_own_is_refused(
    partitioned: Project, kafka: str, tmp_path: Path
) -> None:
    project = partitioned.copy_to(tmp_path / "project").on_kafka(kafka).with_settings(HTTP_PORT=0)
    other = project.copy_to(tmp_path / "other")
    (other.directory / ".driftline" / "engine").write_text("elsewhere")
    with two_hosts() as hosts:
        for host in hosts:
            host.reaches(int(kafka.rpartition(":")[2]))
        running = start_on(hosts, [project, other])
        try:
            assert running[1].process.wait(PATIENCE) == 2
            assert "with another state directory; give all processes of a flow" in running[1].said()
        finally:
            end(running)


def test_bytewax_itself_runs_a_flow_over_hosts_and_resumes_it(
    partitioned: Project, kafka: str, tmp_path: Path
) -> None:
    project = partitioned.copy_to(tmp_path / "project").on_kafka(kafka)
    project = project.with_settings(HTTP_PORT=0, BATCH=20)
    state = project.directory / "state"
    state.mkdir()
    prepared = project.start(sys.executable, "-m", "bytewax.recovery", state, "2")
    assert prepared.process.wait(PATIENCE) == 0, prepared.said()
    recovery = ("-r", state, "-s", "1", "-b", "0")
    parts = [flights(0, PART), flights(PART, 2 * PART)]
    with two_hosts() as hosts:
        for host in hosts:
            host.reaches(int(kafka.rpartition(":")[2]))
        addresses = ";".join(f"{host.address}:2101" for host in hosts)
        for number, records in enumerate(parts, 1):
            project.send(records)
            command = (sys.executable, "-m", "bytewax.run", "flows.predict", *recovery, "-a", addresses)
            running = [
                project.start(*host.command, *command, "-i", str(process))
                for process, host in enumerate(hosts)
            ]
            try:
                wait_until(lambda: grown(project, number * PART - 1), PATIENCE)  # noqa: B023
                drain(running)
            finally:
                end(running)
    assert_as_clean(project, partitioned.copy_to(tmp_path / "clean"), parts)
