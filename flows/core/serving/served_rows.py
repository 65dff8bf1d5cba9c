"""The features of a prediction as rows of the offline store, one for each view."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct, defstruct
from msgspec.json import Decoder

from flows.core.features.feature_rows import REFUSED, ViewCheck, feature_type, key_type, parse
from flows.core.features.plan import KEY_NAMES, FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.stream.broker import Record
from flows.core.stream.checker import check
from flows.core.stream.times import YEAR_2100, is_milliseconds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

_HASH = re.compile(r"[0-9a-f]{12}")


class ServedRow(NamedTuple):
    """The features of one view for one entity as served to a question at its `moment` (us).

    A moment is never a whole millisecond; rows of the features topic always are.
    """

    view: str
    key: str | int
    moment: int
    values: Sequence[Value]


class ServedAnswer(NamedTuple):
    """The rows of a prediction, one for each view whose key is not null; none if `plan` is another plan.

    `faults` lists what is wrong with the features of other views.
    """

    plan: str
    rows: list[ServedRow]
    faults: Sequence[str] = ()


class _ViewPlace(NamedTuple):
    """Where a prediction holds a view's data: the position of its key, and the slice of its features."""

    view: str
    check: ViewCheck
    key: int
    features: slice


class AnswerDecoder:
    """Decodes predictions of `plan`, whose vectors begin with `inputs` event fields.

    msgspec parses and checks a prediction at once. One that it refuses is checked view by view.
    """

    def __init__(self, plan: FeaturePlan, inputs: int) -> None:
        self._plan = plan
        self._features = inputs + len(plan.names)
        self._places = [
            _ViewPlace(
                view.name,
                ViewCheck(view),
                plan.entities.index(view.entity),
                slice(inputs + start, inputs + stop),
            )
            for view, start, stop in plan.places
        ]
        self._typed = Decoder(_message_type(plan, inputs))
        self._slices = [(place.view, place.key, place.features) for place in self._places]

    def decode(self, records: Iterable[Record]) -> list[ServedAnswer | InvalidRecord]:
        """Return the rows of each record, or the fault of one that is not a prediction.

        The features of another plan are not read, since equal names may mean different features.
        """
        return [self._decoded(record) for record in records]

    def _decoded(self, record: Record) -> ServedAnswer | InvalidRecord:
        try:
            value: Any = record.value
            value.decode()  # msgspec does not check the UTF-8 of fields that it skips
            found: Any = self._typed.decode(value)
        except REFUSED:
            return self._checked(record)
        keys, moment, features = found.keys, found.moment, [*found.features]
        rows = [
            _tuple(ServedRow, (view, keys[key], moment, features[place]))
            for view, key, place in self._slices
            if keys[key] is not None
        ]
        return _tuple(ServedAnswer, (self._plan.hash, rows, ()))

    def _checked(self, record: Record) -> ServedAnswer | InvalidRecord:
        try:
            body = parse(record)
            check(body, {})
            plan = body.get("plan")
            if type(plan) is not str or not _HASH.fullmatch(plan):
                raise InvalidRecord("schema", "'plan' must be the hash of a feature plan")
            if plan != self._plan.hash:
                return ServedAnswer(plan, [])
            return self._answer(self._served(body.get("keys"), body.get("moment"), body.get("features")))
        except InvalidRecord as fault:
            return fault

    def _served(self, keys: Any, moment: Any, features: Any) -> "_Served":
        if type(keys) is not list or len(keys) != len(self._plan.entities):
            raise InvalidRecord("schema", f"'keys' must be the keys of {', '.join(self._plan.entities)}")
        for entity, key, kind in zip(self._plan.entities, keys, self._plan.key_types, strict=True):
            if key is not None and type(key) is not kind:
                raise InvalidRecord("schema", f"the key of {entity!r} must be {KEY_NAMES[kind]} or null")
        if type(moment) is not int or not is_milliseconds(moment // 1000):
            raise InvalidRecord("schema", "'moment' must be a time in microseconds since 1970")
        if type(features) is not list or len(features) != self._features:
            raise InvalidRecord("schema", f"'features' must be an array of {self._features} values")
        return _Served(keys, moment, [features[place.features] for place in self._places])

    def _answer(self, served: "_Served") -> ServedAnswer:
        """Return the rows of one prediction, whose values are checked."""
        rows, faults = [], []
        for place, values in zip(self._places, served.values, strict=True):
            try:
                place.check.check(values)
            except InvalidRecord as fault:
                faults.append(str(fault))
            else:
                key = served.keys[place.key]
                if key is not None:
                    rows.append(_tuple(ServedRow, (place.view, key, served.moment, values)))
        return ServedAnswer(self._plan.hash, rows, tuple(faults))


class _Served(NamedTuple):
    """What the stores get of a prediction: the keys, the moment (us), and the values of each view."""

    keys: list[Any]
    moment: int
    values: list[list[Any]]


def _message_type(plan: FeaturePlan, inputs: int) -> type[Struct]:
    """Return the type of a prediction whose views' features need no further check."""
    keys = tuple(key_type(plan.key_kinds[entity]) | None for entity in plan.entities)
    aggregated = [feature_type(aggregate.dtype) for view in plan.views for aggregate in view.aggregates]
    others = len(plan.names) - len(aggregated)
    features = (Any,) * inputs + tuple(aggregated) + (Any,) * others
    moment = Annotated[int, Meta(ge=0, lt=1000 * YEAR_2100)]
    fields = [
        ("plan", Literal[plan.hash]),
        ("keys", tuple[keys]),  # type: ignore[valid-type]
        ("moment", moment),
        ("features", tuple[features]),  # type: ignore[valid-type]
    ]
    return defstruct("Prediction", fields, gc=False)
