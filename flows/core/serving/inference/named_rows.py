"""The features of a request's rows: from its columns, from the online store, and from transforms."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from flows.core.features.batch import Question
from flows.core.features.lookups import LookupKey, LookupTable, Stored, key_of, usable
from flows.core.features.plan import Dtype, FeaturePlan, Output, View
from flows.core.features.transforms import Transformer, fitted
from flows.core.stream.checker import nearest
from flows.core.stream.fields import Field, Flag, Key, Number, Text, Time, resolved
from flows.core.user_code import describe
from flows.errors import InvalidRequest, StoreError

_DATATYPES: Mapping[Dtype, str] = {"int": "INT64", "float": "FP64", "string": "BYTES"}


class OnlineRows(Protocol):
    """The store of the stream views' features."""

    def read(self, view: View, keys: Collection[str | int]) -> Mapping[str | int, Stored | None]:
        """Return the newest row of each key, None for a key without one; raises `StoreError`."""


class NamedRow(NamedTuple):
    """The features of a row, in the order of the model's names.

    `as_of` is the oldest event time (ms) of what was read from the online store, None if nothing was.
    """

    features: Sequence[Any]
    as_of: int | None


class InputColumn(NamedTuple):
    """An input that a request may have."""

    name: str
    datatype: str


class NamedRows:
    """Makes rows of features of the columns of a request.

    A view whose features are all among the columns is taken from them. Any other view is read from the online
    store, by the key of its entity, which then must be among the columns.
    """

    def __init__(
        self, fields: Mapping[str, Field], time: str, inputs: Sequence[str], plan: FeaturePlan,
        transformer: Transformer,
    ) -> None:  # fmt: skip
        self._fields = resolved(fields, plan.key_kinds)
        self._time = time
        self._inputs = inputs
        self._plan = plan
        self._transformer = transformer
        self._features = dict(zip(plan.names, plan.dtypes, strict=True))

    @property
    def columns(self) -> list[InputColumn]:
        """The inputs that a request may have: the model's, then the keys and fields that features need."""
        needed = [key.name for lookup in self._plan.lookups for key in lookup.keys]
        needed += [field.name for transform in self._plan.transforms for field in transform.fields]
        names = dict.fromkeys((*self._inputs, *self._plan.entities, *needed, self._time))
        fields = [InputColumn(name, _datatype(self._fields[name])) for name in names]
        return fields + [InputColumn(name, _DATATYPES[dtype]) for name, dtype in self._features.items()]

    def views_to_read(self, given: Collection[str]) -> list[View]:
        """Return the views that the columns `given` leave to the online store; raises `InvalidRequest`."""
        unread = []
        for view in self._plan.views:
            names = [f"{view.name}__{aggregate.name}" for aggregate in view.aggregates]
            if _missing(names, given, view.entity):
                unread.append(view)
        return unread

    def needs_store(self, given: Collection[str]) -> bool:
        """Return whether a request with these columns reads the online store; raises `InvalidRequest`."""
        return bool(self.views_to_read(given) or self._lookups_to_read(given))

    def rows(
        self,
        columns: Mapping[str, Sequence[Any]],
        count: int,
        online: OnlineRows | None = None,
        table: LookupTable | None = None,
    ) -> list[NamedRow]:
        """Return the features of each row; raises `InvalidRequest` and `StoreError`.

        `online` and `table` may be None if `needs_store` says that they are not read.
        """
        self._check_names(columns)
        payloads = self._payloads(columns, count)
        times: list[list[int]] = [[] for _ in range(count)]
        vectors: list[list[Any]] = [[] for _ in range(count)]
        unread = {view.name for view in self.views_to_read(columns)}
        for view in self._plan.views:
            if view.name in unread and online is not None:
                _read_view(view, payloads, online, vectors, times, self._time)
            else:
                names = (f"{view.name}__{aggregate.name}" for aggregate in view.aggregates)
                self._extend(vectors, columns, names)
        self._look_up(columns, payloads, table, vectors, times)
        self._transform(columns, payloads, vectors)
        return [
            NamedRow([*(payload.get(name) for name in self._inputs), *vector], min(read, default=None))
            for payload, vector, read in zip(payloads, vectors, times, strict=True)
        ]

    def _check_names(self, given: Collection[str]) -> None:
        for name in given:
            if name not in self._fields and name not in self._features:
                known = ", ".join(column.name for column in self.columns)
                raise InvalidRequest(f"an input must be one of {known}; got {name!r}")
        for name in self._inputs:
            if name not in given and self._fields[name].required:
                raise InvalidRequest(f"input {name!r} is missing")

    def _payloads(self, columns: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
        """Return the event fields of each row, checked and converted as those of an event."""
        payloads: list[dict[str, Any]] = [{} for _ in range(count)]
        for name, values in columns.items():
            if (field := self._fields.get(name)) is not None:
                for payload, value in zip(payloads, values, strict=True):
                    payload[name] = _field_value(name, field, value)
        return payloads

    def _extend(
        self, vectors: Sequence[list[Any]], columns: Mapping[str, Sequence[Any]], names: Iterable[str]
    ) -> None:
        """Append the columns with these names to the vectors, as values of their types."""
        for name in names:
            output = Output(name, self._features[name])
            for vector, value in zip(vectors, columns[name], strict=True):
                try:
                    vector.append(fitted(output, value))
                except (TypeError, ValueError) as error:
                    raise InvalidRequest(f"input {name!r}: {error}") from None

    def _lookups_to_read(self, given: Collection[str]) -> set[str]:
        unread = set()
        for lookup in self._plan.lookups:
            names = [f"{lookup.name}__{feature.name}" for feature in lookup.features]
            if any(_missing(names, given, key.name) for key in lookup.keys):
                unread.add(lookup.name)
        return unread

    def _look_up(
        self,
        columns: Mapping[str, Sequence[Any]],
        payloads: Sequence[Mapping[str, Any]],
        table: LookupTable | None,
        vectors: Sequence[list[Any]],
        times: Sequence[list[int]],
    ) -> None:
        unread = self._lookups_to_read(columns)
        for lookup in self._plan.lookups:
            if lookup.name not in unread or table is None:
                self._extend(vectors, columns, (f"{lookup.name}__{f.name}" for f in lookup.features))
                continue
            keys = [key_of(lookup, payload) for payload in payloads]
            known = table.read(lookup, [key for key in dict.fromkeys(keys) if key is not None])
            for payload, key, vector, read in zip(payloads, keys, vectors, times, strict=True):
                found = _usable(key, known, payload.get(self._time), lookup.freshness, lookup.name)
                vector += [None] * len(lookup.features) if found is None else found.values
                read += [] if found is None else [found.time]

    def _transform(
        self,
        columns: Mapping[str, Sequence[Any]],
        payloads: Sequence[Mapping[str, Any]],
        vectors: Sequence[list[Any]],
    ) -> None:
        """Compute the features of transforms, unless the request has them."""
        names = self._plan.names[len(self._plan.aggregated) + len(self._plan.looked_up) :]
        if not names:
            return
        if all(name in columns for name in names):
            self._extend(vectors, columns, names)
            return
        for transform in self._plan.transforms:
            for field in transform.fields:
                if field.name not in columns and self._fields[field.name].required:
                    raise InvalidRequest(
                        f"input {field.name!r} is missing, from which {transform.name!r} is computed; send "
                        f"it, or all of {', '.join(names)}"
                    )
        questions = [Question("", payload.get(self._time) or 0, payload) for payload in payloads]
        for row, error in self._transformer.extend(questions, vectors).items():
            raise InvalidRequest(f"row {row}: {describe(error)}")


def _missing(names: Sequence[str], given: Collection[str], key: str) -> bool:
    """Return whether all these features are missing; raises `InvalidRequest` for some, or without the key."""
    absent = [name for name in names if name not in given]
    if not absent:
        return False
    if len(absent) < len(names):
        raise InvalidRequest(f"input {absent[0]!r} is missing; send all features of a view, or none")
    if key not in given:
        raise InvalidRequest(
            f"input {absent[0]!r} is missing; send it, or {key!r}, by which it is read from the online store"
        )
    return True


def _read_view(
    view: View,
    payloads: Sequence[Mapping[str, Any]],
    online: OnlineRows,
    vectors: Sequence[list[Any]],
    times: Sequence[list[int]],
    time: str,
) -> None:
    """Append a view's features in the online store; a row whose windows have all ended counts as empty."""
    keys = [payload.get(view.entity) for payload in payloads]
    known = online.read(view, [key for key in dict.fromkeys(keys) if key is not None])
    empty = [aggregate.empty for aggregate in view.aggregates]
    for payload, key, vector, read in zip(payloads, keys, vectors, times, strict=True):
        stored, now = None if key is None else known.get(key), payload.get(time)
        if stored is None:
            vector += empty
            continue
        ended = now is not None and stored.time + view.delay + view.longest + view.slide <= now
        vector += empty if ended else stored.values
        read.append(stored.time)


def _usable(
    key: LookupKey | None,
    known: Mapping[LookupKey, Stored | None],
    time: int | None,
    freshness: int,
    name: str,
) -> Stored | None:
    """Return what may be used; without a time, the newest values. Raises `StoreError` if it was not read."""
    if key is not None and key not in known:
        raise StoreError(f"the online store did not answer for the features of {name!r}; try again")
    if time is None:
        return None if key is None else known[key]
    found = usable(key, known, time, freshness)
    return found if isinstance(found, Stored) else None


def _field_value(name: str, field: Field, value: Any) -> Any:
    """Return the value of an event field as the stream has it; raises `InvalidRequest`."""
    if value is None:
        if field.required:
            raise InvalidRequest(f"input {name!r} must not be null")
        return None
    if isinstance(field, Key) and field.kind == "integer" and type(value) is float and value.is_integer():
        value = int(value)
    if fault := field.fault(value):
        raise InvalidRequest(f"input {name!r} {fault}")
    if isinstance(field, Time | Flag):
        return field.read(value)
    return nearest(value) if isinstance(field, Number) else value


def _datatype(field: Field) -> str:
    if isinstance(field, Number):
        return "FP64"
    if isinstance(field, Flag):
        return "BOOL" if not field.is_mapped else "BYTES" if type(field.true) is str else "FP64"
    if isinstance(field, Key):
        return "INT64" if field.kind == "integer" else "BYTES"
    assert isinstance(field, Text | Time)
    return "BYTES"
