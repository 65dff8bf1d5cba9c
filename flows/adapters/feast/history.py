"""Feast's point-in-time join: the features of a service for entities at moments, from the offline store."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
import pandas as pd
from feast import FeatureStore

from flows.core.features.plan import FeaturePlan, Input
from flows.core.stream.times import milliseconds
from flows.errors import StoreError

_DTYPES = {"text": "string", "integer": "Int64"}
_ROW = "driftline_row"  # a column that goes through the join, to put its rows in order again


def point_in_time_join(store: FeatureStore, service: str, frame: pd.DataFrame) -> Any:
    """The service's features, under their full names, for each row of `frame`, as an Arrow table.

    It has `event_timestamp`, the join keys and the fields that on-demand views ask for; its other columns
    come back as they are, its order does not. Raises `StoreError` where Feast fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Feast says at each call what is experimental
            features = store.get_feature_service(service)
            return store.get_historical_features(frame, features, full_feature_names=True).to_arrow()
    except Exception as error:  # Feast raises what its parts raise
        raise StoreError(f"Feast cannot join the history: {type(error).__name__}: {error}") from error


class FeastHistory:
    """Asks `store` for the features of the service of `plan`."""

    def __init__(self, store: FeatureStore, plan: FeaturePlan) -> None:
        self._store = store
        self._plan = plan
        self._fields = {field.name: field for transform in plan.transforms for field in transform.fields}

    def columns(
        self,
        keys: Sequence[Sequence[str | int | None]],
        moments: Sequence[int],
        payloads: Sequence[Mapping[str, Any]],
    ) -> list[list[Any]]:
        """The features in the plan's order, a list for each.

        `keys` are those of the plan's entities and `moments` (us) the times that are asked about; `payloads`
        have the fields that on-demand views read. An entity without a key answers as one never seen. Raises
        `StoreError` where Feast fails.
        """
        frame = self._frame(keys, moments, payloads)
        joined = point_in_time_join(self._store, self._plan.service, frame).to_pandas().sort_values(_ROW)
        answers = {name: _values(joined[name]) for name in self._plan.names}
        self._fill_without_key(answers, keys)
        return list(answers.values())

    def _frame(
        self,
        keys: Sequence[Sequence[str | int | None]],
        moments: Sequence[int],
        payloads: Sequence[Mapping[str, Any]],
    ) -> pd.DataFrame:
        columns: dict[str, Any] = {
            name: [_given(payload, field) for payload in payloads] for name, field in self._fields.items()
        }
        for number, entity in enumerate(self._plan.entities):
            dtype = _DTYPES[self._plan.key_kinds[entity]]
            columns[entity] = pd.array([each[number] for each in keys], dtype=dtype)
        times = pd.to_datetime(pd.Series(moments, dtype="int64"), unit="us", utc=True)
        return pd.DataFrame(columns | {"event_timestamp": times, _ROW: range(len(keys))})

    def _fill_without_key(
        self, answers: dict[str, list[Any]], keys: Sequence[Sequence[str | int | None]]
    ) -> None:
        for view in self._plan.views:
            entity = self._plan.entities.index(view.entity)
            rows = [row for row, each in enumerate(keys) if each[entity] is None]
            for aggregate in view.aggregates:
                column = answers[f"{view.name}__{aggregate.name}"]
                for row in rows:
                    column[row] = aggregate.empty


def _given(payload: Mapping[str, Any], field: Input) -> Any:
    value = payload.get(field.name)
    if field.kind == "time" and value is not None:
        return datetime.fromtimestamp(milliseconds(value) / 1000, UTC)
    return value


def _values(column: pd.Series) -> list[Any]:
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values
