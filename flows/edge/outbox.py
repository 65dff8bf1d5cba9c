"""Predictions that wait to be forwarded, in a file that survives a crash and a power failure."""

import json
import secrets
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

OutboxError = sqlite3.Error


class OldestPredictions(NamedTuple):
    """The oldest predictions that wait, each a line of JSON with its number."""

    lines: list[bytes]
    first: int


class PredictionOutbox:
    """Keeps predictions until a receiver has them.

    Each has the next number of this file, and the file has a random name of its own, `device`. By both, a
    receiver recognizes a prediction that it has already. Several threads may use it. Raises `OutboxError`.
    """

    def __init__(self, file: Path) -> None:
        self._lock = Lock()
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # an answered prediction survives a power failure
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS predictions "
            "(number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)"
        )
        self._database.execute("CREATE TABLE IF NOT EXISTS device (name TEXT NOT NULL)")
        self._database.execute(
            "INSERT INTO device SELECT ? WHERE NOT EXISTS (SELECT * FROM device)", (secrets.token_hex(8),)
        )
        (self.device,) = self._database.execute("SELECT name FROM device").fetchone()

    def add(self, prediction: dict[str, Any]) -> None:
        """Store a prediction durably."""
        body = json.dumps(prediction, allow_nan=False)
        with self._lock:
            self._database.execute("INSERT INTO predictions (body) VALUES (?)", (body,))

    def oldest(self, most: int, size: int) -> OldestPredictions | None:
        """Return the oldest predictions, at most `most` and about `size` bytes; None if none waits."""
        with self._lock:
            rows = self._database.execute(
                "SELECT number, body FROM predictions ORDER BY number LIMIT ?", (most,)
            ).fetchall()
        lines: list[bytes] = []
        for number, body in rows:
            lines.append(json.dumps({"number": number, **json.loads(body)}).encode() + b"\n")
            size -= len(lines[-1])
            if size < 0:
                break
        return OldestPredictions(lines, rows[0][0]) if lines else None

    def remove_before(self, number: int) -> None:
        """Remove the predictions with a lower number; no later one gets their numbers."""
        with self._lock:
            self._database.execute("DELETE FROM predictions WHERE number < ?", (number,))

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._database.execute("SELECT count(*) FROM predictions").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
