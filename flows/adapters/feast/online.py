"""Writes feature rows to Feast's online store, which keeps the newest row of each entity.

Feast's `push` builds a data frame and looks up the view in each call. Here the view is looked up once,
messages are built directly, and a batch takes one `online_write_batch` for each view.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from redis import RedisError

from flows.core.features.batch import Row
from flows.core.features.plan import Dtype, FeaturePlan, View
from flows.core.features.windows.sliding import Value
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
            self._views = {view.name: _ViewWriter(store, view) for view in plan.views}
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

    def __init__(self, store: FeatureStore, view: View) -> None:
        self._config = store.config
        self._provider = store.provider
        self._feast_view = store.get_stream_feature_view(view.name)
        self._entity = view.entity
        self._columns = [(a.name, _MAKERS[a.dtype]) for a in view.aggregates]
        self._times: dict[str | int, int] = {}

    def write(self, rows: dict[str | int, Row]) -> int:
        times = self._known_times(rows)
        fresh = [row for key, row in rows.items() if row.time >= times[key]]
        if fresh:
            self._provider.online_write_batch(
                self._config, self._feast_view, [self._message(row) for row in fresh], None
            )
            times.update((row.key, row.time) for row in fresh)
        return len(fresh)

    def _known_times(self, keys: Iterable[str | int]) -> dict[str | int, int]:
        """Return the newest stored time (ms) of at least these keys; 0 for a key that was never written."""
        if len(self._times) > KEYS:
            self._times.clear()
        unknown = [key for key in keys if key not in self._times]
        for start in range(0, len(unknown), _READ):
            chunk = unknown[start : start + _READ]
            self._times.update(zip(chunk, self._read_times(chunk), strict=True))
        return self._times

    def _read_times(self, keys: Sequence[str | int]) -> list[int]:
        stored = self._provider.online_read(
            self._config, self._feast_view, [self._key(key) for key in keys], [self._columns[0][0]]
        )
        return [round(time.timestamp() * 1000) if time else 0 for time, _ in stored]

    def _key(self, key: str | int) -> EntityKey:
        value = ValueProto(int64_val=key) if isinstance(key, int) else ValueProto(string_val=key)
        return EntityKey(join_keys=[self._entity], entity_values=[value])

    def _message(self, row: Row) -> tuple[EntityKey, dict[str, ValueProto], datetime, None]:
        values = {name: make(value) for (name, make), value in zip(self._columns, row.values, strict=True)}
        return self._key(row.key), values, datetime.fromtimestamp(row.time / 1000, UTC), None


def _integer(value: Value) -> ValueProto:
    return _NULL if value is None else ValueProto(int64_val=int(value))


def _double(value: Value) -> ValueProto:
    return _NULL if value is None else ValueProto(double_val=float(value))


def _text(value: Value) -> ValueProto:
    return _NULL if value is None else ValueProto(string_val=str(value))


_NULL = ValueProto()
_MAKERS: dict[Dtype, Callable[[Value], ValueProto]] = {"int": _integer, "float": _double, "string": _text}


def _explained(error: Exception) -> StoreError:
    kind = type(error).__name__
    if "no such table" in str(error) or "NotFound" in kind:
        return StoreError("the online store does not know the feature views; run `driftline apply`")
    return StoreError(
        f"the online store is unavailable ({kind}); check that it runs and that its address is right"
    )
