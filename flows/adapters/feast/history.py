"""Point-in-time joins of a feature service, through Feast's offline store."""

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
_ROW = "driftline_row"  # a column that restores the order of rows after the join


def point_in_time_join(store: FeatureStore, service: str, frame: pd.DataFrame) -> Any:
    """Return an Arrow table of the service's features, under their full names, for each row of `frame`.

    `frame` has `event_timestamp`, the join keys and the request fields of on-demand views; other columns are
    passed through. The order of rows is not kept. Raises `StoreError` if Feast fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Feast warns of experimental features at each call
            features = store.get_feature_service(service)
            return store.get_historical_features(frame, features, full_feature_names=True).to_arrow()
    except Exception as error:  # Feast passes on the errors of its dependencies
        raise StoreError(
            f"Feast cannot join the history: {type(error).__name__}: {error}; check the offline store"
        ) from error


class FeastHistory:
    """Reads historical features of the service of `plan` from `store`."""

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
        """Return one column for each feature, in the plan's order.

        Each row has the keys of the plan's entities, its moment (us), and in its payload the fields that
        on-demand views read. A missing key gives the values of an unknown entity. Raises `StoreError` if
        Feast fails.
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
