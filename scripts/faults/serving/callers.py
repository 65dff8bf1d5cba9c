"""Callers that ask at a steady rate, and ask again until they are answered, as the documentation says."""

import time
from collections import Counter
from collections.abc import Sequence
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

import httpx
import orjson

from scripts.faults.serving.traffic import Ask, Traffic

THREADS = 48  # so many requests may wait at once
PAUSE = 0.1  # seconds until a request is sent again
NO_ANSWER = "no answer"  # the connection was refused or broke
_TIMEOUT = 20.0  # seconds
_AGAIN = (429, 503)


class Attempt(NamedTuple):
    """One request, its status or `NO_ANSWER`, and the seconds that it took."""

    kind: str
    status: str
    seconds: float


class Callers:
    """Sends `number` requests at `rate` a second; those that fail are sent again.

    A request is begun when it is due, also while others wait. `predictions` are those that were in answers.
    """

    def __init__(self, url: str, traffic: Traffic, number: int, rate: float) -> None:
        self._url = url
        self._traffic = traffic
        self._number = number
        self._rate = rate
        self._lock = Lock()
        self._begun = 0
        self._stopped = Event()
        self._threads = [Thread(target=self._ask_all, daemon=True) for _ in range(THREADS)]
        self.attempts: list[Attempt] = []
        self.answered: list[Ask] = []
        self.waited: list[float] = []  # seconds from when each was due until it was answered
        self.predictions: list[dict[str, Any]] = []
        self.refused: list[str] = []  # answers that no repetition would change

    def start(self) -> None:
        """Begin to send."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Do not send what is not answered yet again."""
        self._stopped.set()

    def join(self, seconds: float) -> bool:
        """Return whether all requests are answered, after so many seconds at most."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def statuses(self) -> Counter[str]:
        """Return the number of attempts by status."""
        return Counter(attempt.status for attempt in self.attempts)

    def _ask_all(self) -> None:
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT, trust_env=False) as client:
            while (due := self._next_due()) is not None:
                time.sleep(max(0.0, due - time.monotonic()))
                ask = self._traffic.next()
                if self._ask(client, ask):
                    with self._lock:
                        self.answered.append(ask)
                        self.waited.append(time.monotonic() - due)

    def _next_due(self) -> float | None:
        with self._lock:
            if self._begun == self._number or self._stopped.is_set():
                return None
            self._begun += 1
            return self._began + (self._begun - 1) / self._rate

    def _ask(self, client: httpx.Client, ask: Ask) -> bool:
        """Ask until there is an answer; return whether it is a success."""
        while not self._stopped.is_set():
            answer = self._attempt(client, ask)
            if answer is not None and answer.status_code not in _AGAIN:
                return self._note(ask, answer)
            time.sleep(PAUSE)
        return False

    def _attempt(self, client: httpx.Client, ask: Ask) -> httpx.Response | None:
        began = time.monotonic()
        headers = {"content-type": ask.content_type} if ask.body else {}
        try:
            answer = client.request(ask.method, ask.path, content=ask.body, headers=headers)
        except httpx.TransportError:
            answer = None
        status = NO_ANSWER if answer is None else str(answer.status_code)
        with self._lock:
            self.attempts.append(Attempt(ask.kind, status, time.monotonic() - began))
        return answer

    def _note(self, ask: Ask, answer: httpx.Response) -> bool:
        rows = _rows(answer) if ask.ids and answer.is_success else []
        faults = [row for row in rows if row.get("status") == "refused"]
        predictions = [row["prediction"] for row in rows if row.get("status") == "predicted"]
        predictions += [row for row in rows if "score" in row]
        with self._lock:
            self.predictions += predictions
            if not answer.is_success or faults:
                self.refused.append(f"{ask.method} {ask.path}: {answer.status_code} {answer.text[:200]}")
                return False
        self._traffic.is_answered(ask, has_prediction=len(predictions) == len(ask.ids))
        return True


def _rows(answer: httpx.Response) -> Sequence[dict[str, Any]]:
    return [orjson.loads(line) for line in answer.content.splitlines()]
