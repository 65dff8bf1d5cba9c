"""Forwards the predictions of an outbox to `driftline collect`, whenever it answers."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any

from .outbox import OutboxError, PredictionOutbox

DEVICE = "Driftline-Device"  # the header with the name of the outbox

_MOST, _SIZE = 500, 2**19  # predictions and bytes of a request
_SECONDS = 10.0  # that a receiver may take
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds between attempts


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Follows none: the token and the predictions are for the receiver that was named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Forwarder:
    """Forwards in a thread of its own, from `start` to `stop`; with a token, if it is in a file."""

    def __init__(self, outbox: PredictionOutbox, url: str, token: Path | None) -> None:
        self.fault = ""  # of the last attempt
        self._outbox = outbox
        self._url = url
        self._token = token
        self._opener = urllib.request.build_opener(_NoRedirection)
        self._wake, self._stopped = Event(), Event()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to forward."""
        self._thread.start()

    def wake(self) -> None:
        """Forward what was just added."""
        self._wake.set()

    def stop(self) -> None:
        """Forward what waits if the receiver answers, then end."""
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            stopped = self._stopped.is_set()  # before the attempt: it then is the last one
            done = self._forward_all()
            if stopped:
                return
            pause = _FIRST_PAUSE if done else min(2 * pause, _LONGEST_PAUSE)
            if done:
                self._wake.wait()
            else:
                self._stopped.wait(pause)
            self._wake.clear()

    def _forward_all(self) -> bool:
        """Forward until nothing waits; return False if an attempt fails."""
        self.fault = ""
        try:
            while not self.fault and (waiting := self._outbox.oldest(_MOST, _SIZE)) is not None:
                received = self._post(b"".join(waiting.lines))
                if received > waiting.first:
                    self._outbox.remove_before(received)
                else:
                    self.fault = f"the receiver expects number {received}, got {waiting.first}"
        except urllib.error.HTTPError as error:
            self.fault = f"{error}: {error.read(1000).decode(errors='replace')}"
        except (OSError, HTTPException, OutboxError, ValueError, KeyError, TypeError) as error:
            self.fault = f"{type(error).__name__}: {error}"
        return not self.fault

    def _post(self, body: bytes) -> int:
        """Send predictions; return the number of the first one that the receiver does not have."""
        headers = {DEVICE: self._outbox.device, "Content-Type": "application/x-ndjson"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {read_token(self._token)}"
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 (http or https)
        with self._opener.open(request, timeout=_SECONDS) as answer:
            return int(json.loads(answer.read(1000))["next"])


def read_token(file: Path) -> str:
    """Return the token in a file, which may be replaced at any time; raises `OSError` and `ValueError`."""
    token = file.read_text().strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise ValueError(f"{file} must have a token in one line, as `driftline tokens create` prints it")
    return token
