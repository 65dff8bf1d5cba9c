"""Values by id on disk, for joins that must not grow in memory with the log."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path


class ById:
    """Keeps one value for each id in the new file `file`, which does not survive a crash."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
            "CREATE TABLE by_id (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )

    def put(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Store values by id; replace existing values."""
        self._insert("INSERT OR REPLACE INTO by_id VALUES (?, ?)", values)

    def put_new(self, values: Iterable[tuple[str, bytes]]) -> None:
        """Store values by id; keep existing values."""
        self._insert("INSERT OR IGNORE INTO by_id VALUES (?, ?)", values)

    def get(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the value of each id, None for an unknown id."""
        find = self._database.execute
        rows = [find("SELECT value FROM by_id WHERE id = ?", (each,)).fetchone() for each in ids]
        return [row[0] if row else None for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _insert(self, statement: str, values: Iterable[tuple[str, bytes]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, values)
        self._database.execute("COMMIT")
