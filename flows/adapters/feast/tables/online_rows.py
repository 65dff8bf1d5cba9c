"""Reads the newest row of each entity in a stream view from Feast's online store."""

import sqlite3
import threading
from collections.abc import Collection

from flows.adapters.feast.lookup import bound_waits, stored_row
from flows.adapters.feast.tables.feast_table import FeastTable

# isort: split
from feast import FeatureStore
from redis import RedisError

from flows.core.features.lookups import Stored
from flows.core.features.plan import FeaturePlan, View
from flows.errors import ConfigError, StoreError


class StoredRows:
    """The rows of the plan's stream views in the online store of `store`. Thread-safe."""

    def __init__(self, store: FeatureStore, plan: FeaturePlan) -> None:
        bound_waits(store)
        self._store = store
        try:
            self._tables = {view.name: FeastTable(store, view) for view in plan.views}
            self._views = {view.name: store.get_stream_feature_view(view.name) for view in plan.views}
        except Exception as error:
            raise ConfigError(
                f"the Feast registry does not have the plan's stream views ({type(error).__name__}); "
                "run `driftline apply`"
            ) from error
        self._lock = threading.Lock()

    def read(self, view: View, keys: Collection[str | int]) -> dict[str | int, Stored | None]:
        """Return the newest row of each key, None for a key without one; raises `StoreError`."""
        names = [aggregate.name for aggregate in view.aggregates]
        entities = [self._tables[view.name].key(key) for key in keys]
        if not entities:
            return {}
        try:
            with self._lock:
                rows = self._store.provider.online_read(
                    self._store.config, self._views[view.name], entities, names.copy()
                )
        except (RedisError, sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the online store is unavailable ({type(error).__name__}); check that it runs, that its "
                "address is right and that `driftline apply` was run"
            ) from error
        found = (stored_row(moment, values or {}, names) for moment, values in rows)
        return dict(zip(keys, found, strict=True))
