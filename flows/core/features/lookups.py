"""Lookups: features of a table, used for a question only if they are fresh.

`LookupTable` reads the table. This module decides which of its values may be used; otherwise the feature is
null, with a reason. No value is carried over from another time, key or default.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from flows.core.features.batch import Question
from flows.core.features.plan import FeaturePlan, Lookup
from flows.core.features.windows.sliding import Value
from flows.core.stream.fields import INT64

LookupKey = tuple[str | int, ...]
NullReason = Literal["missing", "stale", "future", "away"]  # why a lookup returned null


class Stored(NamedTuple):
    """What the table holds for a key: the values of the lookup's features, and their time (ms)."""

    time: int
    values: list[Value]


class LookupTable(Protocol):
    """The store of the batch views' features."""

    def read(self, lookup: Lookup, keys: Collection[LookupKey]) -> Mapping[LookupKey, Stored | None]:
        """Return what the table holds for each key, or None for an unknown key; never raises.

        Keys that could not be read, because the store is unavailable, are not in the result.
        """


class Lookups:
    """Appends the lookups' features to the vectors of a batch."""

    def __init__(self, plan: FeaturePlan, table: LookupTable) -> None:
        self._lookups = plan.lookups
        self._table = table

    def extend(
        self, questions: Sequence[Question], vectors: Sequence[list[Any]]
    ) -> Counter[tuple[str, NullReason]]:
        """Extend the vectors in place; return the number of nulls by lookup and reason."""
        nulls: Counter[tuple[str, NullReason]] = Counter()
        for lookup in self._lookups:
            keys = [key_of(lookup, question.payload) for question in questions]
            known = self._table.read(lookup, [key for key in dict.fromkeys(keys) if key is not None])
            for question, vector, key in zip(questions, vectors, keys, strict=True):
                answer = usable(key, known, question.time, lookup.freshness)
                if isinstance(answer, Stored):
                    vector += answer.values
                else:
                    vector += [None] * len(lookup.features)
                    nulls[lookup.name, answer] += 1
        return nulls


def usable(
    key: LookupKey | None, known: Mapping[LookupKey, Stored | None], time: int, freshness: int
) -> Stored | NullReason:
    """Return the stored value that a question at `time` may use, or why there is none; both times in ms.

    >>> known = {("JFK",): Stored(1_000, [7.5])}
    >>> usable(("JFK",), known, 1_500, 500).values, usable(("JFK",), known, 1_501, 500)
    ([7.5], 'stale')
    """
    if key is None:
        return "missing"
    if key not in known:
        return "away"
    stored = known[key]
    if stored is None:
        return "missing"
    if stored.time > time:
        return "future"
    return "stale" if stored.time < time - freshness else stored


def key_of(lookup: Lookup, payload: Mapping[str, Any]) -> LookupKey | None:
    """Return an event's key for the lookup; None if a field is null or not a 64-bit whole number.

    >>> from flows.core.features.plan import Input
    >>> keys = (Input("origin", "string"), Input("hour", "number"))
    >>> weather = Lookup("weather", keys, (), 3_600_000)
    >>> key_of(weather, {"origin": "JFK", "hour": 7.0}), key_of(weather, {"origin": "JFK", "hour": 7.5})
    (('JFK', 7), None)
    """
    key: list[str | int] = []
    for field in lookup.keys:
        value = payload.get(field.name)
        if field.kind == "number":
            value = _whole(value)
        if value is None:
            return None
        key.append(value)
    return tuple(key)


def _whole(value: float | None) -> int | None:
    if value is None or value != int(value) or int(value) not in INT64:
        return None
    return int(value)
