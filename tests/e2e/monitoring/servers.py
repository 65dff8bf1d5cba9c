"""A real Prometheus and a real Alertmanager as processes."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from harness import PATIENCE, unavailable, wait_until


class Server:
    """A server on loopback that answers HTTP with JSON."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"http://{self.address}{path}", params=parameters, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"http://{self.address}/-/ready").status_code == 200
        except httpx.HTTPError:
            return False


class Alertmanager(Server):
    """Knows the alerts that Prometheus sent."""

    def alerts(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.get("/api/v2/alerts")}


class Prometheus(Server):
    """Answers queries."""

    def query(self, expression: str) -> list[Any]:
        """Return the series of an instant query."""
        series: list[Any] = self.get("/api/v1/query", query=expression)["data"]["result"]
        return series

    def rules(self) -> list[Any]:
        groups = self.get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        alerts = self.get("/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def tool(package: str, *names: str) -> str:
    """Return the path of the program, which has several names; skip or fail without it."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        formula = package.removeprefix("prometheus-")
        unavailable(f"{names[0]} is not installed: 'apt install {package}' or 'brew install {formula}'")
        raise AssertionError
    return found


@contextmanager
def running(command: Sequence[object], folder: Path, server: Server) -> Iterator[None]:
    """Run a server for the block, from the time when it is ready."""
    log = folder / f"{server.address}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=stream, stderr=stream)
    try:
        wait_until(lambda: process.poll() is not None or server.is_ready(), PATIENCE)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
