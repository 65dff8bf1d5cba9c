"""Chromium without a window, and a page in it that is driven by the DevTools protocol, over pipes."""

import base64
import itertools
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

PATIENCE = 60.0  # seconds; the machine may be busy
HEADLESS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--hide-scrollbars",
)  # fmt: skip


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def chromium() -> str:
    """Return the path of Chromium; raises `SystemExit` if it is not installed."""
    found = find_chromium()
    if found is None:
        raise SystemExit("Chromium is not installed; install `chromium` or `google-chrome`")
    return found


class Tab:
    """A page that was opened. `errors` has what its console says: errors, and what the policy refuses.

    A page that does not answer, or does not come to what is waited for, is an `AssertionError`.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read = read
        self._write = write
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session = ""
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to an address; what it loads comes later."""
        self._call("Page.navigate", url=url)

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """Set the size of the window (pixels)."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                   mobile=False)  # fmt: skip

    def scheme(self, name: str) -> None:
        """Prefer "light" or "dark"."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < deadline, (
                f"{script} is not true; the page says: {self.text('body')[:2000]}"
            )
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """Return the text of the first element that matches."""
        found = self.run(f"document.querySelector({orjson.dumps(selector).decode()})?.innerText ?? ''")
        assert isinstance(found, str)
        return found

    def key(self, name: str, code: int) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def picture(self, file: Path, width: int, height: int) -> None:
        """Write this much of the page as a PNG, from its upper left corner on (pixels)."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self._call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, orjson.dumps(message) + b"\0")
        for answer in self._messages():
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)
        raise AssertionError("Chromium ended")

    def _note(self, event: dict[str, Any]) -> None:
        said = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(said["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")

    def _messages(self) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE
        while True:
            *whole, self._rest = self._rest.split(b"\0")
            yield from map(orjson.loads, whole)
            assert select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0], "no answer"
            received = os.read(self._read, 2**20)
            if not received:
                return
            self._rest += received


@contextmanager
def chromium_tab(folder: Path) -> Iterator[Tab]:
    """Yield an empty page of a Chromium with a profile of its own; raises `SystemExit` without one."""
    binary = chromium()
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    script = f'exec "$@" 3<&{command_read} 4>&{answer_write}'  # the two descriptors that Chromium uses
    profile = f"--user-data-dir={folder / 'profile'}"
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, "chromium", binary, *HEADLESS, "--remote-debugging-pipe", profile],
        pass_fds=(command_read, answer_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(command_read)
    os.close(answer_write)
    try:
        yield Tab(answer_read, command_write)
    finally:
        os.close(command_write)  # Chromium ends with its pipe
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        os.close(answer_read)
