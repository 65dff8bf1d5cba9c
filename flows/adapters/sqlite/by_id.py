"""Values by id on disk, for a join that must not grow with the log."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path


class ById:
    """Keeps one value for each id in a file of its own; nothing of it outlasts a crash."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
            "CREATE TABLE by_id (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )

    def put(self, values: Iterable[tuple[str, bytes]], *, again: bool) -> None:
        """Store values by id; `again` says that they take the place of those which are there already."""
        verb = "REPLACE" if again else "IGNORE"
        self._database.execute("BEGIN")
        self._database.executemany(f"INSERT OR {verb} INTO by_id VALUES (?, ?)", values)  # noqa: S608
        self._database.execute("COMMIT")

    def get(self, ids: Sequence[str]) -> list[bytes | None]:
        """The value of each id."""
        find = self._database.execute
        rows = [find("SELECT value FROM by_id WHERE id = ?", (each,)).fetchone() for each in ids]
        return [row[0] if row else None for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
