"""Lookups of batch views: from Feast's online store, read in batches and cached, or as of a past time.

A backtest reads from Feast's offline store, because the online store has only current values.

An unavailable online store delays a batch by at most `TIMEOUT` for each exchange, of which Redis has up to
three (connect, handshake, response); then it is not read for `PAUSE`. SQLite answers or fails at once, except
that it waits up to 5 s while another process changes the schema.
"""

import logging
import math
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from cachetools import TTLCache
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from redis import RedisError

from flows.core.features.batch import Question
from flows.core.features.lookups import LookupKey, Stored, key_of
from flows.core.features.plan import FeaturePlan, Lookup
from flows.core.features.windows.sliding import Value
from flows.errors import ConfigError, StoreError

CACHED = 10.0  # seconds that a value is cached: a materialized change is served this much later at most
KEYS = 100_000  # cached values for each view
TIMEOUT = 0.2  # seconds to wait for a connection to Redis, and for each response
PAUSE = 3.0  # seconds without a read, and without another warning, after a failed read
_READ = 5_000  # keys in one read, below SQLite's limit of parameters in a statement

_log = logging.getLogger("driftline.lookups")
warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)  # ibis, in each join


class OnlineTable:
    """Reads the plan's batch views from the online store of `store`; `clock` returns seconds.

    Keys that are not in the store are cached as well. Thread-safe.
    """

    def __init__(
        self, store: FeatureStore, plan: FeaturePlan, clock: Callable[[], float] = time.monotonic
    ) -> None:
        bound_waits(store)
        self._config = store.config
        self._provider = store.provider
        try:
            self._views = {lookup.name: store.get_feature_view(lookup.name) for lookup in plan.lookups}
        except Exception as error:
            raise ConfigError(
                f"the Feast registry does not have the plan's batch views ({type(error).__name__}); "
                "run `driftline apply`"
            ) from error
        self._caches: dict[str, TTLCache[LookupKey, Stored | None]] = {
            lookup.name: TTLCache(KEYS, CACHED, timer=clock) for lookup in plan.lookups
        }
        self._clock = clock
        self._away_until = clock()
        self._lock = threading.Lock()

    def read(self, lookup: Lookup, keys: Collection[LookupKey]) -> dict[LookupKey, Stored | None]:
        """Return the value of each key, at most `CACHED` seconds old; see `LookupTable`."""
        with self._lock:
            cache = self._caches[lookup.name]
            cached = {key: cache.get(key, _UNKNOWN) for key in keys}
            known = {key: stored for key, stored in cached.items() if stored is not _UNKNOWN}
            unknown = [key for key in keys if key not in known]
            fresh = self._fetch(lookup, unknown)
            cache.update(fresh)
            return known | fresh

    def _fetch(self, lookup: Lookup, keys: Sequence[LookupKey]) -> dict[LookupKey, Stored | None]:
        """Return the values that could be read; none while the store is considered unavailable."""
        found: dict[LookupKey, Stored | None] = {}
        if self._clock() < self._away_until:
            return found
        try:
            for start in range(0, len(keys), _READ):
                chunk = keys[start : start + _READ]
                found.update(zip(chunk, self._read(lookup, chunk), strict=True))
        except (RedisError, sqlite3.Error, OSError) as error:
            self._away_until = self._clock() + PAUSE
            _log.warning(
                "the online store is unavailable (%s), so the features of %s are null; check that it runs, "
                "that its address is right and that `driftline apply` was run",
                type(error).__name__,
                lookup.name,
            )
        return found

    def _read(self, lookup: Lookup, keys: Sequence[LookupKey]) -> list[Stored | None]:
        names = [feature.name for feature in lookup.features]
        rows = self._provider.online_read(
            self._config,
            self._views[lookup.name],
            [_entity(lookup, key) for key in keys],
            names.copy(),  # Feast appends to the list
        )
        return [stored_row(moment, values, names) for moment, values in rows]


def past(
    store: FeatureStore, plan: FeaturePlan, questions: Iterable[Question]
) -> dict[tuple[str, int], list[Value]]:
    """Return the lookups' features of each question as of its time, by its id and time (ms).

    Uses one point-in-time join of Feast for each view's batch source. Raises `StoreError`.
    """
    asked = list(questions)
    values: dict[tuple[str, int], list[Value]] = {(question.id, question.time): [] for question in asked}
    for lookup in plan.lookups:
        try:
            rows = _joined(store, lookup, asked)
        except Exception as error:  # errors of files, DuckDB and ibis have no common base class
            raise StoreError(
                f"the history of batch view {lookup.name!r} cannot be read ({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}); check its batch source"
            ) from error
        nothing: list[Value] = [None] * len(lookup.features)
        of_lookup = {(q.id, q.time): rows.get(number, nothing) for number, q in enumerate(asked)}
        for question, found in of_lookup.items():
            values[question] += found
    return values


def _joined(store: FeatureStore, lookup: Lookup, asked: Sequence[Question]) -> Mapping[int, list[Value]]:
    """Return the features of each question that has a key, by its number."""
    keys = {number: key_of(lookup, question.payload) for number, question in enumerate(asked)}
    known = {number: key for number, key in keys.items() if key is not None}
    if not known:
        return {}
    frame = pd.DataFrame(known.values(), columns=[field.name for field in lookup.keys])
    times = [asked[number].time for number in known]
    frame["event_timestamp"] = pd.to_datetime(times, unit="ms", utc=True)
    frame[_NUMBER] = list(known)
    names = [feature.name for feature in lookup.features]
    references = [f"{lookup.name}:{name}" for name in names]
    table = store.get_historical_features(frame, references, full_feature_names=True).to_arrow()
    columns = [table.column(f"{lookup.name}__{name}").to_pylist() for name in names]
    rows = zip(*columns, strict=True)
    return {
        number: [_finite(value) for value in row]
        for number, row in zip(table.column(_NUMBER).to_pylist(), rows, strict=True)
    }


_NUMBER = "driftline_question"
_UNKNOWN: Any = object()


def bound_waits(store: FeatureStore) -> None:
    """Set timeouts for Redis, whose client by default waits indefinitely and retries for seconds.

    Options that the connection string already contains stay.
    """
    online = store.config.online_store
    if online.type != "redis":
        return
    options = {"socket_connect_timeout": TIMEOUT, "socket_timeout": TIMEOUT, "retry": "null"}
    for name, value in options.items():
        if f",{name}=" not in online.connection_string:
            online.connection_string += f",{name}={value}"


def _entity(lookup: Lookup, key: LookupKey) -> EntityKey:
    values = [
        ValueProto(int64_val=part) if isinstance(part, int) else ValueProto(string_val=part) for part in key
    ]
    return EntityKey(join_keys=[field.name for field in lookup.keys], entity_values=values)


def stored_row(moment: Any, values: Any, names: Sequence[str]) -> Stored | None:
    """Return one row of Feast; None for a missing key, for which Redis returns the year 1970."""
    if moment is None or not moment.timestamp():
        return None
    return Stored(round(moment.timestamp() * 1000), [_value(values.get(name)) for name in names])


def _value(proto: Any) -> Value:
    kind = proto and proto.WhichOneof("val")
    return _finite(getattr(proto, kind)) if kind else None


def _finite(value: Value) -> Value:
    """Return the value, or None for infinity and for NaN, which is how pandas represents a missing number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
