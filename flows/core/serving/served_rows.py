"""The features of a prediction as rows of the offline store, one for each view."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from flows.core.features.feature_rows import ViewCheck, parse
from flows.core.features.plan import KEY_NAMES, FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.stream.broker import Record
from flows.core.stream.checker import check
from flows.core.stream.times import is_milliseconds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

_CHUNK = 250  # predictions checked together: few enough for the processor's cache
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
    """Decodes predictions of `plan`, whose vectors begin with `inputs` event fields."""

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

    def decode(self, records: Sequence[Record]) -> list[ServedAnswer | InvalidRecord]:
        """Return the rows of each record, or the fault of one that is not a prediction.

        The features of another plan are not read, since equal names may mean different features.
        """
        return [
            answer
            for start in range(0, len(records), _CHUNK)
            for answer in self._decoded(records[start : start + _CHUNK])
        ]

    def _decoded(self, records: Iterable[Record]) -> Iterator[ServedAnswer | InvalidRecord]:
        parsed = [self._parsed(record) for record in records]
        by_view = zip(*[served.values for served in parsed if isinstance(served, _Served)], strict=True)
        checked = zip(self._places, by_view, strict=False)  # no prediction has no columns
        unsure = [place.view for place, rows in checked if not place.check.fits(rows)]
        for served in parsed:
            yield self._answer(served, unsure) if isinstance(served, _Served) else served

    def _parsed(self, record: Record) -> "_Served | ServedAnswer | InvalidRecord":
        try:
            body = parse(record)
            check(body, {})
            plan = body.get("plan")
            if type(plan) is not str or not _HASH.fullmatch(plan):
                raise InvalidRecord("schema", "'plan' must be the hash of a feature plan")
            if plan != self._plan.hash:
                return ServedAnswer(plan, [])
            return self._served(body.get("keys"), body.get("moment"), body.get("features"))
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

    def _answer(self, served: "_Served", unsure: Sequence[str]) -> ServedAnswer:
        """Return the rows of one prediction; the values of the views `unsure` are checked one by one."""
        rows, faults = [], []
        for place, values in zip(self._places, served.values, strict=True):
            try:
                if place.view in unsure:
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
