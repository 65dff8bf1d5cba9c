"""`driftline serve` with the overview of its dashboard open in a headless Chromium, for the soak."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from scripts.faults.servers import await_ready
from scripts.tools.chromium import HEADLESS, chromium

PATIENCE = 120.0  # seconds until the server is ready


@contextmanager
def open_page(folder: Path, port: int, pipeline: str) -> Iterator[Mapping[str, int]]:
    """Serve the project of the working directory and open its page for the block.

    Yields the process ids of the server, "serve", and of the page, "page".
    """
    binary = chromium()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "flows.cli.app", "serve"]
    environment = {**os.environ, "DRIFTLINE_SERVE_PORT": str(port)}
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            await_ready(f"{url}/v2/health/ready", PATIENCE)
            profile = f"--user-data-dir={folder / 'chromium'}"
            page = [binary, *HEADLESS, profile, f"{url}/#/overview/{pipeline}"]
            browser = subprocess.Popen(page, stdout=log, stderr=log, start_new_session=True)
            try:
                yield {"serve": server.pid, "page": _renderer(browser.pid)}
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(browser.pid, signal.SIGKILL)
                browser.wait()
        finally:
            server.terminate()
            server.wait(30)


def _renderer(browser: int) -> int:
    """Return the process id of the page: of Chromium's renderers the one that works."""
    time.sleep(10)  # until the page has drawn and asked again; other renderers are idle by then
    found: dict[int, float] = {}
    for process in psutil.Process(browser).children(recursive=True):
        with suppress(psutil.Error):
            if "--type=renderer" in process.cmdline():
                found[process.pid] = process.cpu_times().user
    if not found:
        raise SystemExit("Chromium did not open the page; see serve.log")
    return max(found, key=found.__getitem__)
