"""The seed: the initial state of a predict flow, which a backfill writes to one SQLite file.

The flow reads an entity's state from it when the entity is first touched. So the file must be kept as long as
the flow's own state.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from flows.core.stored_format import SEED
from flows.errors import ConfigError, StoreError
from flows.host.files import replacing, sync
from flows.host.state_dir import make_private

APPLICATION = 0x44525453  # "DRTS" in the file's header distinguishes a seed from any other SQLite file

SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SEED.version};
CREATE TABLE made_for (plan TEXT NOT NULL, slots INTEGER NOT NULL);
CREATE TABLE offsets (partition TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE intakes (slot INTEGER PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE entities (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
"""


class Seed:
    """Reads the seed in `file`, which must be of this format, this plan (its hash) and this number of slots.

    `offsets` has the offset at which the flow begins, by "topic/partition"; a partition without one is read
    from its beginning. Raises `ConfigError` for any other file.
    """

    def __init__(self, file: Path, plan: str, slots: int) -> None:
        # the flow's workers are threads that share the connection, which SQLite serialises
        uri = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            self._check_format(file)
            made_for = self._database.execute("SELECT plan, slots FROM made_for").fetchone()
            self.offsets: dict[str, int] = dict(self._database.execute("SELECT partition, next FROM offsets"))
        except sqlite3.Error as error:
            raise ConfigError(f"{file} cannot be read ({error}); {_ADVICE}") from error
        if made_for != (plan, slots):
            raise ConfigError(
                f"{file} must be for plan {plan} and {slots} partitions, got plan {made_for[0]} and "
                f"{made_for[1]} partitions; {_ADVICE}"
            )

    def intake(self, slot: int) -> bytes | None:
        """Return the state of a slot's intake, None if the seed has no such slot."""
        return self._value("SELECT state FROM intakes WHERE slot = ?", slot)

    def entity(self, name: str) -> bytes | None:
        """Return the stored state of an entity, None if the history has no such entity."""
        return self._value("SELECT state FROM entities WHERE name = ?", name)

    def _check_format(self, file: Path) -> None:
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise ConfigError(f"{file} must be a seed, got another SQLite file; {_ADVICE}")
        if mismatch := SEED.mismatch(str(SEED._replace(version=version))):
            raise ConfigError(f"{file} {mismatch}; {_ADVICE}")

    def _value(self, query: str, key: int | str) -> bytes | None:
        row = self._database.execute(query, (key,)).fetchone()
        return row[0] if row else None


_ADVICE = (
    "remove it and the folder `predict` beside it, then run `driftline backfill --seed` again, or start "
    "without a seed"
)


def write_seed(
    file: Path,
    plan: str,
    offsets: Mapping[str, int],
    intakes: Iterable[bytes],
    entities: Iterable[tuple[str, bytes]],
) -> int:
    """Write a seed, atomically replacing an older one, and return the number of its entities.

    `plan` is the hash of the feature plan, `intakes` has the state of each slot's intake, and `entities` the
    name and the stored state of each. Raises `StoreError` if it cannot be written.
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
