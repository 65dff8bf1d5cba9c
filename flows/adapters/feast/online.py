"""Writes feature rows to Feast's online store, which keeps the newest row of each entity.

Feast's `push` builds a data frame and looks up the view in each call. Here the view is looked up once,
messages are built directly, and a batch takes one write for each view.
"""

import sqlite3
from collections.abc import Iterable

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureStore
from redis import RedisError

from flows.adapters.feast.tables.feast_table import FeastTable
from flows.adapters.feast.tables.sqlite_table import SqliteTable, is_plain_sqlite
from flows.core.features.batch import Row
from flows.core.features.plan import FeaturePlan
from flows.errors import StoreError

KEYS = 100_000  # entities of one view whose newest time is cached; others are read from the store
_READ = 5_000  # keys in one read, below SQLite's limit of parameters in a statement


class OnlineStore:
    """Writes rows to the online store of `store`; never overwrites a newer row with an older one.

    The stores do not ensure that order: SQLite accepts any row, and Redis drops rows of an equal time. So the
    newest time of each (view, key) is cached, and read from the store once for an unknown key, so the order
    also holds across restarts. Feast stores whole seconds in SQLite: after a restart, rows within the stored
    second count as equal. Only one process at a time may write a key.
    """

    def __init__(self, store: FeatureStore, plan: FeaturePlan) -> None:
        try:
            table = SqliteTable if is_plain_sqlite(store) else FeastTable
            self._views = {view.name: _ViewWriter(table(store, view)) for view in plan.views}
        except Exception as error:
            raise _explained(error) from error

    def write(self, rows: Iterable[Row]) -> int:
        """Store the newest of `rows` for each view and key, and return the number of rows stored.

        Of rows with an equal time the last one wins, also across batches. Raises `StoreError` if the store is
        unavailable; the same rows can then be written again.
        """
        newest: dict[str, dict[str | int, Row]] = {}
        for row in rows:
            of_view = newest.setdefault(row.view, {})
            known = of_view.get(row.key)
            if known is None or row.time >= known.time:
                of_view[row.key] = row
        try:
            return sum(self._views[name].write(of_view) for name, of_view in newest.items())
        except (RedisError, sqlite3.Error, OSError) as error:
            raise _explained(error) from error


class _ViewWriter:
    """Writes the rows of one view."""

    def __init__(self, table: FeastTable) -> None:
        self._table = table
        self._times: dict[str | int, int] = {}

    def write(self, rows: dict[str | int, Row]) -> int:
        times = self._known_times(rows)
        fresh = [row for key, row in rows.items() if row.time >= times[key]]
        new = [row for row in fresh if not times[row.key]]
        known = [row for row in fresh if times[row.key]] if len(new) < len(fresh) else []
        if new:
            self._table.insert(new)
        if known:
            self._table.update(known)
        times.update((row.key, row.time) for row in fresh)
        return len(fresh)

    def _known_times(self, keys: Iterable[str | int]) -> dict[str | int, int]:
        """Return the newest stored time (ms) of at least these keys; 0 for a key that was never written."""
        if len(self._times) > KEYS:
            self._times.clear()
        unknown = [key for key in keys if key not in self._times]
        for start in range(0, len(unknown), _READ):
            chunk = unknown[start : start + _READ]
            self._times.update(zip(chunk, self._table.read_times(chunk), strict=True))
        return self._times


def _explained(error: Exception) -> StoreError:
    kind = type(error).__name__
    if "no such table" in str(error) or "NotFound" in kind:
        return StoreError("the online store does not know the feature views; run `driftline apply`")
    return StoreError(
        f"the online store is unavailable ({kind}); check that it runs and that its address is right"
    )
