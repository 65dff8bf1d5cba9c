"""The real systems that tests talk to. Where one cannot run its tests are skipped, but never in CI."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

KAFKA_SCRIPT = Path(__file__).parent.parent / "scripts" / "kafka"
NEEDS_INSTALLATION = 3  # the script's exit code
not_tested: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in not_tested:
        terminalreporter.write_line(f"NOT TESTED: {reason}", yellow=True)


def unavailable(reason: str) -> None:
    """Skip what needs a system that this machine lacks; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    if reason not in not_tested:
        not_tested.append(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.01)


@dataclass(frozen=True)
class KafkaNode:
    """A Kafka of its own for the tests; its jars are shared with `scripts/kafka`."""

    folder: Path
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self, name: str) -> None:
        environment = {
            **os.environ,
            "DRIFTLINE_KAFKA_NODE": str(self.folder),
            "DRIFTLINE_KAFKA_PORT": str(self.port),
            "DRIFTLINE_KAFKA_CONTROLLER_PORT": str(self.controller_port),
        }
        # to a file: the node inherits a pipe's end and would keep it open
        output = self.folder.with_suffix(".txt")
        with output.open("w") as stream:
            code = subprocess.call([KAFKA_SCRIPT, name], env=environment, stdout=stream, stderr=stream)
        if code == NEEDS_INSTALLATION:
            unavailable(output.read_text().strip())
        assert code == 0, output.read_text()


@pytest.fixture(scope="session")
def kafka_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KafkaNode]]:
    """Start a Kafka node with an empty log; each is stopped at the end of the session."""
    started = []

    def start() -> KafkaNode:
        node = KafkaNode(tmp_path_factory.mktemp("kafka") / "node", free_port(), free_port())
        node.command("start")
        started.append(node)
        return node

    yield start
    for node in started:
        node.command("stop")


@pytest.fixture(scope="session")
def kafka(kafka_node: Callable[[], KafkaNode]) -> str:
    """The address of a real Kafka: DRIFTLINE_TEST_KAFKA, or one started for the session."""
    return os.environ.get("DRIFTLINE_TEST_KAFKA") or kafka_node().address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real, empty Redis, started for the session."""
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


def answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
