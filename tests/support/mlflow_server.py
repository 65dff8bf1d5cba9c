"""A real MLflow server on loopback, with its store in a folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from harness import free_port, is_open, wait_until

STARTS_WITHIN = 180.0  # seconds: it creates its database by dozens of migrations


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run a server for the block and yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # its jobs need further packages, and no test needs a job
    options = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **options}
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(lambda: server.poll() is not None or is_open(port), STARTS_WITHIN)
        assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ask(server: str, path: str, **parameters: str) -> dict[str, Any]:
    """Return the answer of MLflow's REST interface, without MLflow's client."""
    answer = httpx.get(f"{server}/api/2.0/mlflow/{path}", params=parameters, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def tags(of: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in of["tags"]}
