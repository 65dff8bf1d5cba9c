"""The seed: what a backfill leaves so that the predict flow starts warm, in one SQLite file.

The flow reads the state of an entity from it when the entity is first touched, so the file stays as long as
the flow's own state does.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from flows.errors import ConfigError, StoreError
from flows.host.files import replacing, sync
from flows.host.state_dir import make_private

APPLICATION = 0x44525453  # "DRTS" in the file's header tells a seed from any other SQLite file
FORMAT = 1

SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE made_for (plan TEXT NOT NULL, slots INTEGER NOT NULL);
CREATE TABLE offsets (partition TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE intakes (slot INTEGER PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE entities (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
"""


class Seed:
    """Reads the seed in `file`, which must be for the plan with the hash `plan` and for so many `slots`.

    `offsets` has the offset at which the flow begins, by "topic/partition"; a partition that it does not name
    is read from its beginning. Raises `ConfigError` for a seed of another plan, and for what is no seed.
    """

    def __init__(self, file: Path, plan: str, slots: int) -> None:
        # the flow's workers are threads that share it; SQLite itself takes one at a time
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            made_for = self._database.execute("SELECT plan, slots FROM made_for").fetchone()
            self.offsets: dict[str, int] = dict(self._database.execute("SELECT partition, next FROM offsets"))
        except sqlite3.Error as error:
            raise ConfigError(f"{file} cannot be read ({error}); {_ADVICE}") from error
        if made_for != (plan, slots):
            raise ConfigError(
                f"{file} was made for plan {made_for[0]} and {made_for[1]} partitions; "
                f"now it is plan {plan} and {slots}. {_ADVICE.capitalize()}"
            )

    def intake(self, slot: int) -> bytes | None:
        """The intake's state for a slot."""
        return self._value("SELECT state FROM intakes WHERE slot = ?", slot)

    def entity(self, name: str) -> bytes | None:
        """The stored state of an entity; None for one that the history does not know."""
        return self._value("SELECT state FROM entities WHERE name = ?", name)

    def _value(self, query: str, key: int | str) -> bytes | None:
        row = self._database.execute(query, (key,)).fetchone()
        return row[0] if row else None


_ADVICE = (
    "remove it and the state of the predict flow beside it, then run `driftline backfill --seed` again, "
    "or start cold without it"
)


def write_seed(
    file: Path,
    plan: str,
    offsets: Mapping[str, int],
    intakes: Iterable[bytes],
    entities: Iterable[tuple[str, bytes]],
) -> int:
    """Write a seed, in the place of an older one; it appears as a whole. The number of entities in it.

    `plan` is the hash of the feature plan, `intakes` has the intake's state of each slot, and `entities` the
    name and the stored state of each. Raises `StoreError` when the disk refuses.
    """
    states = list(enumerate(intakes))
    try:
        make_private(file.parent)
        with replacing(file) as unfinished:
            unfinished.unlink(missing_ok=True)
            with closing(sqlite3.connect(unfinished)) as database, database:
                database.executescript(SCHEMA)
                database.execute("INSERT INTO made_for VALUES (?, ?)", (plan, len(states)))
                database.executemany("INSERT INTO offsets VALUES (?, ?)", offsets.items())
                database.executemany("INSERT INTO intakes VALUES (?, ?)", states)
                written = database.executemany("INSERT INTO entities VALUES (?, ?)", entities).rowcount
        sync(file.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the seed cannot be written: {error}; check {file.parent} and its disk") from error
    return max(written, 0)
