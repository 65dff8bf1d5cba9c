"""Fixtures for real systems. Where one cannot run, its tests are skipped; in CI they fail."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import (
    NOT_TESTED,
    DurableRedis,
    KafkaNode,
    Project,
    answers_ping,
    free_port,
    server_port,
    unavailable,
    wait_until,
)
from hypothesis import HealthCheck, settings
from places import SHIPPED

import flows.adapters.feast.quick_feast  # noqa: F401  before any test loads Feast
from flows.core.models.pickling import NamedPickling

collect_ignore = ["fixtures", "support"]  # no tests; pytest would import them to look for doctests

# how long an example takes is a matter of the machine, and decides no test
settings.register_profile("driftline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("driftline")

os.environ["RUST_BACKTRACE"] = "0"  # Bytewax would print a backtrace for every expected exception


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = (str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()))
    for reason in sorted({reason for reason in reasons if NOT_TESTED in reason}):
        terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True)


@pytest.fixture(scope="session", autouse=True)
def stored_without_module_paths() -> Iterator[None]:
    """Let each test fail that stores a state or a model with a module path of Driftline in it."""
    dumps = NamedPickling.dumps

    def checked(self: NamedPickling, value: Any) -> bytes:
        content = dumps(self, value)
        assert b"flows." not in content, "a class has no name in flows.core.models.stored_names"
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NamedPickling, "dumps", checked)
        yield


@pytest.fixture(scope="session")
def kafka_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., KafkaNode]]:
    """Return a function that starts an empty Kafka node with more `properties`; all stop with the session."""
    watchers = []
    turns = tmp_path_factory.getbasetemp().parent / "kafka.turns"  # one process at a time downloads it

    def start(properties: Callable[[KafkaNode], str] | None = None) -> KafkaNode:
        node = KafkaNode(tmp_path_factory.mktemp("kafka") / "node", server_port(), server_port())
        if properties is not None:
            node.properties.write_text(properties(node))
        watchers.append(node.stopped_after_us())
        with turns.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            node.command("start")
        return node

    yield start
    for watcher in watchers:
        watcher.communicate()


@pytest.fixture(scope="session")
def kafka(kafka_node: Callable[[], KafkaNode]) -> str:
    """Return the address of a real Kafka: DRIFTLINE_TEST_KAFKA, or a node started for the session."""
    return os.environ.get("DRIFTLINE_TEST_KAFKA") or kafka_node().address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start an empty Redis for the session and yield its URL."""
    if not shutil.which("redis-server"):
        unavailable("Redis is not installed: 'apt install redis-server' or 'brew install redis'")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    log = tmp_path_factory.mktemp("redis") / "redis.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=log.parent)
    try:
        wait_until(lambda: answers_ping(port))
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def durable_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DurableRedis]:
    """Start an empty Redis for one test, which may kill it; Feast in this process uses it."""
    if not shutil.which("redis-server"):
        unavailable("Redis is not installed: 'apt install redis-server' or 'brew install redis'")
    redis = DurableRedis(tmp_path)
    monkeypatch.setenv("DRIFTLINE_REDIS", redis.address)
    redis.start()
    yield redis
    redis.end()


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with the flight_delays example, after `driftline apply`. For copying only."""
    directory = tmp_path_factory.mktemp("applied")
    shutil.copytree(SHIPPED, directory / "feature_repo")
    (directory / "driftline.toml").write_text(
        'feature_repo = "feature_repo"\npipelines = ["flows.pipelines.flight_delays"]\n'
    )
    project = Project(directory)
    outcome = project.run("apply")
    assert outcome.returncode == 0, outcome.stderr
    return project


@pytest.fixture
def project(applied: Project, tmp_path: Path) -> Project:
    """Return a project on the embedded log, with its feature plan and without records."""
    return applied.copy_to(tmp_path / "project")


@pytest.fixture(params=["log", "kafka"])
def project_on(request: pytest.FixtureRequest, project: Project) -> Project:
    """Return the project on each broker."""
    if request.param == "log":
        return project
    return project.on_kafka(request.getfixturevalue("kafka"))


@pytest.fixture
def project_on_kafka(project: Project, kafka: str) -> Project:
    """Return the project on Kafka."""
    return project.on_kafka(kafka)
