"""The rows of one view in any online store, by Feast's own reader and writer."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from flows.core.features.batch import Row
from flows.core.features.plan import Dtype, View
from flows.core.features.windows.sliding import Value


class FeastTable:
    """Reads and writes the rows of one view."""

    def __init__(self, store: FeatureStore, view: View) -> None:
        self._config = store.config
        self._provider = store.provider
        self._feast_view = store.get_stream_feature_view(view.name)
        self._entity = view.entity
        self._columns = [(a.name, _MAKERS[a.dtype]) for a in view.aggregates]

    def read_times(self, keys: Sequence[str | int]) -> Iterable[int]:
        """Return the time (ms) of the row of each key; 0 for a key without one."""
        stored = self._provider.online_read(
            self._config, self._feast_view, [self.key(key) for key in keys], [self._columns[0][0]]
        )
        return [round(time.timestamp() * 1000) if time else 0 for time, _ in stored]

    def insert(self, rows: Iterable[Row]) -> None:
        """Store rows of new keys."""
        messages = [self._message(row) for row in rows]
        self._provider.online_write_batch(self._config, self._feast_view, messages, None)

    def update(self, rows: Sequence[Row]) -> None:
        """Store rows of keys that have one."""
        self.insert(rows)

    def key(self, key: str | int) -> EntityKey:
        """Return a key as Feast has it."""
        value = ValueProto(int64_val=key) if isinstance(key, int) else ValueProto(string_val=key)
        return EntityKey(join_keys=[self._entity], entity_values=[value])

    def _message(self, row: Row) -> tuple[EntityKey, dict[str, ValueProto], datetime, None]:
        values = {name: make(value) for (name, make), value in zip(self._columns, row.values, strict=True)}
        return self.key(row.key), values, datetime.fromtimestamp(row.time / 1000, UTC), None


def _integer(value: Value) -> ValueProto:
    return _NULL if value is None else ValueProto(int64_val=int(value))


def _double(value: Value) -> ValueProto:
    return _NULL if value is None else ValueProto(double_val=float(value))


def _text(value: Value) -> ValueProto:
    return _NULL if value is None else ValueProto(string_val=str(value))


_NULL = ValueProto()
_MAKERS: dict[Dtype, Callable[[Value], ValueProto]] = {"int": _integer, "float": _double, "string": _text}
