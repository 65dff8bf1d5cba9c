"""Runs `driftline serve` as a process, and asks it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from harness import DRIFTLINE, PATIENCE, Project, Running, wait_until


class Server:
    """A running server. `client` asks it."""

    def __init__(self, running: Running, url: str, **options: Any) -> None:
        self.running = running
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.client.post(path, **options)

    def infer(
        self, columns: Mapping[str, Sequence[Any]], path: str = "/v2/models/flight_delays/infer"
    ) -> Any:
        """Return the answer to a request with these columns."""
        return self.post(path, json={"inputs": tensors(columns)})


def tensors(columns: Mapping[str, Sequence[Any]]) -> list[dict]:
    return [
        {
            "name": name,
            "shape": [len(values)],
            "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
            "data": list(values),
        }
        for name, values in columns.items()
    ]


@contextmanager
def serving(project: Project, verify: Any = True, **settings: object) -> Iterator[Server]:
    """Run `driftline serve` for the block, on a free port; yield when it is ready."""
    chosen = project.with_settings(SERVE_PORT=0, **settings)
    running = chosen.start(DRIFTLINE, "serve")
    try:
        server = Server(running, address(running), verify=verify)
        wait_until(lambda: server.get("/v2/health/ready").status_code == 200, PATIENCE)
        yield server
    finally:
        running.kill()


def address(running: Running) -> str:
    """Return the address that the server says it listens at."""
    found: list[str] = []

    def is_said() -> bool:
        assert running.process.poll() is None, running.said()
        found[:] = re.findall(r" at (https?://\S+)", running.said())
        return bool(found)

    wait_until(is_said, PATIENCE)
    return found[0]
