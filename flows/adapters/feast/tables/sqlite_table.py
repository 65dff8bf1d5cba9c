"""The rows of one view in Feast's SQLite store, where a feature is a row of a table.

Feast's writer takes a statement for each feature, which first tries to insert it; that was half of the
materialize flow's time. Here one statement updates all features of a key, in a third of the time. What it
stores is the same to the last byte.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from flows.adapters.feast.tables.feast_table import FeastTable

# isort: split
from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore, _quote_id, _table_id
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from flows.core.features.batch import Row
from flows.core.features.plan import Dtype, View
from flows.core.features.windows.sliding import Value

_Stored = tuple[bytes, str | None]  # a value as a message and as text
_KEYS = 100_000  # encoded keys that are cached


def is_plain_sqlite(store: FeatureStore) -> bool:
    """Return whether the online store is Feast's for SQLite, without the columns of its extensions."""
    config = store.config.online_store
    extensions = ("vector_enabled", "enable_openai_compatible_store")
    has_more = any(getattr(config, extension, False) for extension in extensions)
    return type(store.provider.online_store) is SqliteOnlineStore and not has_more


class SqliteTable(FeastTable):
    """Reads and updates the rows of one view by SQL."""

    def __init__(self, store: FeatureStore, view: View) -> None:
        super().__init__(store, view)
        self._store: Any = store.provider.online_store
        versioned = self._config.registry.enable_online_feature_view_versioning
        self._table = _quote_id(_table_id(self._config.project, self._feast_view, versioned))
        self._encoded = lru_cache(_KEYS)(self._encode)
        self._makers = [_MAKERS[a.dtype] for a in view.aggregates]
        self._update = _update_of(self._table, [a.name for a in view.aggregates])

    def read_times(self, keys: Sequence[str | int]) -> Iterable[int]:
        """Return the time (ms) of the row of each key; 0 for a key without one."""
        encoded = [self._encoded(key) for key in keys]
        marks = ", ".join("?" * len(encoded))
        query = (
            f"SELECT entity_key, max(event_ts) FROM {self._table} WHERE entity_key IN ({marks}) GROUP BY 1"  # noqa: S608
        )
        seconds = dict(self._connection().execute(query, encoded))
        return [1000 * seconds.get(key, 0) for key in encoded]

    def update(self, rows: Sequence[Row]) -> None:
        """Store rows of keys that have one; a row that lacks a feature is written by Feast."""
        with self._connection() as connection:
            found = connection.executemany(self._update, self._parameters(rows)).rowcount
        if found != len(rows) * len(self._makers):
            self.insert(rows)

    def _connection(self) -> Any:
        return self._store._get_conn(self._config)

    def _encode(self, key: str | int) -> bytes:
        encoded: bytes = serialize_entity_key(self.key(key), self._config.entity_key_serialization_version)
        return encoded

    def _parameters(self, rows: Iterable[Row]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            stored = [make(value) for make, value in zip(self._makers, row.values, strict=True)]
            values, texts = zip(*stored, strict=True)
            yield *values, *texts, row.time // 1000, self._encoded(row.key)


def _update_of(table: str, names: Sequence[str]) -> str:
    """Return the statement that updates the features of a key; its parameters are those of `_parameters`."""
    cases = " ".join(f"WHEN '{name}' THEN ?" for name in names)
    features = ", ".join(f"'{name}'" for name in names)  # others are of an earlier declaration of the view
    return (
        f"UPDATE {table} SET value = CASE feature_name {cases} END, "  # noqa: S608  names are identifiers
        f"value_text = CASE feature_name {cases} END, event_ts = ?, created_ts = NULL "
        # the plus lets SQLite look for the key once, and not for each feature
        f"WHERE entity_key = ? AND +feature_name IN ({features})"
    )


@lru_cache(10_000)  # most are small counts
def _whole(value: int) -> _Stored:
    return ValueProto(int64_val=value).SerializeToString(), str(value)


def _integer(value: Value) -> _Stored:
    return _NULL if value is None else _whole(int(value))


def _double(value: Value) -> _Stored:
    if value is None:
        return _NULL
    number = float(value)
    return _DOUBLE_TAG + _DOUBLE.pack(number), str(number)


def _text(value: Value) -> _Stored:
    if value is None:
        return _NULL
    return ValueProto(string_val=str(value)).SerializeToString(), str(value)


_NULL: _Stored = (b"", None)
_DOUBLE = Struct("<d")
_DOUBLE_TAG = ValueProto(double_val=1.0).SerializeToString()[: -_DOUBLE.size]
_MAKERS: dict[Dtype, Callable[[Value], _Stored]] = {"int": _integer, "float": _double, "string": _text}
