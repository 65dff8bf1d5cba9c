"""Runs the Kafka and the Redis of scripts/chaos, each in its own directory, and waits for other servers."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from scripts.faults.site import SCRIPTS


@contextmanager
def kafka(directory: Path) -> Iterator[str]:
    """Yield DRIFTLINE_BROKER, or the address of a Kafka node that keeps its data in the directory."""
    if given := os.environ.get("DRIFTLINE_BROKER"):
        yield given
        return
    port, controller = free_port(), free_port()
    environment = {
        **os.environ,
        "DRIFTLINE_KAFKA_NODE": str(directory),
        "DRIFTLINE_KAFKA_PORT": str(port),
        "DRIFTLINE_KAFKA_CONTROLLER_PORT": str(controller),
    }
    # without a pipe, which the node would keep open
    subprocess.run([SCRIPTS / "kafka", "start"], env=environment, check=True)
    try:
        yield f"kafka://127.0.0.1:{port}"
    finally:
        subprocess.run([SCRIPTS / "kafka", "stop"], env=environment, check=False)


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Yield the address of a Redis that persists every write in the directory."""
    if not shutil.which("redis-server"):
        raise SystemExit("Redis is not installed: 'apt install redis-server' or 'brew install redis'")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    durable = ["--appendonly", "yes", "--appendfsync", "always"]
    with (directory / "redis.log").open("wb") as output:
        server = subprocess.Popen([*command, *durable], cwd=directory, stdout=output)
    try:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_ready(url: str, seconds: float) -> None:
    """Wait until a server answers with success at a URL; raises `SystemExit` if it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(URLError, ConnectionError), urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within {seconds:g} s; see the server's log")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit("Redis did not start within 10 s") from None
            time.sleep(0.05)
