"""The feature plan: Feast's declarations as plain data, quick to load and with a stable hash.

`driftline apply` compiles the Feast repository to a plan (`flows.adapters.feast.repo`). The flows load the
plan as JSON and never import Feast.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from math import inf
from typing import Any, Literal

import orjson

from flows.core.stream.fields import KeyKind

Dtype = Literal["int", "float", "string"]
Kind = Literal["string", "number", "flag", "time"]

KEY_TYPES: dict[KeyKind, type] = {"text": str, "integer": int}
KEY_NAMES: dict[type, str] = {str: "a string", int: "an integer"}

COUNTS = ("count", "count_distinct")  # whole numbers, 0 for an empty window
NUMERIC = ("sum", "mean", "min", "max", "std", "var")
ANY_COLUMN = ("first", "last", "count_distinct")  # these accept texts too
FUNCTIONS = ("count", *NUMERIC, *ANY_COLUMN, "time_since_last")  # and quantiles, such as p95
LATENESS = 3 * 3_600_000  # milliseconds

_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)")


def quantile(function: str) -> float | None:
    """Return the quantile that `function` names, or None.

    >>> quantile("p99.9"), quantile("mean")
    (0.999, None)
    """
    match = _QUANTILE.fullmatch(function)
    share = round(float(match[1]) / 100, 5) if match else 0.0
    return share or None


@dataclass(frozen=True)
class Aggregate:
    """One feature: a function over one column of the view's stream in one window.

    `window` is in milliseconds; for a question asked at `t` it is `(t - window, t]`. `count` and
    `time_since_last` (seconds) read no column.
    """

    name: str
    function: str
    column: str
    window: int
    dtype: Dtype = "float"

    @property
    def empty(self) -> int | None:
        """Value for an empty window: 0 for counts and sums, None otherwise."""
        return 0 if self.function in (*COUNTS, "sum") else None


@dataclass(frozen=True)
class View:
    """A Feast stream feature view: aggregates of one stream, for each value of one entity.

    `entity` is the field with the entity's key, in the event and in the stream's records.

    `excludes_own` excludes the record with the question's own id, so that an event never contributes to its
    own features.

    A record counts from `delay` ms after its time, so the window of a question asked at `t` is `(t - delay -
    window, t - delay]`.

    With a `slide` (ms), windows end at the last multiple of `slide`, and records are kept as aggregates of
    tiles of that length; 0 is exact. `key` is the type of the entity's key in Feast.
    """

    name: str
    entity: str
    stream: str
    aggregates: tuple[Aggregate, ...]
    excludes_own: bool = False
    delay: int = 0
    slide: int = 0
    key: KeyKind = "text"

    def __hash__(self) -> int:
        return hash(self.name)  # unique in a plan, and much cheaper than hashing every aggregate

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The distinct columns of the aggregates, in order of first use."""
        return tuple(dict.fromkeys(a.column for a in self.aggregates if a.column))

    @cached_property
    def longest(self) -> int:
        """The length (ms) of the longest window."""
        return max(a.window for a in self.aggregates)


@dataclass(frozen=True)
class Input:
    """An event field that a transform reads (a "time" as a datetime in UTC) or a lookup uses as a key."""

    name: str
    kind: Kind

    @property
    def key_kind(self) -> KeyKind:
        """The type of the field as a key."""
        return "text" if self.kind == "string" else "integer"


@dataclass(frozen=True)
class Output:
    """One feature of a transform or a lookup."""

    name: str
    dtype: Dtype


@dataclass(frozen=True)
class Lookup:
    """A Feast batch view: features of a table, which Feast's online store holds by key.

    `keys` are the event fields with the view's join keys. A question at `t` uses a value whose time in the
    table is in `[t - freshness, t]`; `freshness` is in milliseconds.
    """

    name: str
    keys: tuple[Input, ...]
    features: tuple[Output, ...]
    freshness: int


@dataclass(frozen=True)
class Transform:
    """A Feast on-demand feature view in python mode: a function of event fields and of other views' features.

    `function` is `module:name`, and `code` a hash of its source, so that changed code changes the plan. The
    function maps a dict of lists, with one value per row, to another. `fields` are the event fields it reads,
    and `views` the views and lookups whose features it reads, under their full and short names.
    """

    name: str
    function: str
    code: str
    fields: tuple[Input, ...]
    views: tuple[str, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class FeaturePlan:
    """What one pipeline's feature service lists, in the order of its feature vector.

    `lateness` (ms) is how far a record may be behind the newest of its stream and still count.
    """

    service: str
    views: tuple[View, ...]
    transforms: tuple[Transform, ...] = ()
    lateness: int = LATENESS
    lookups: tuple[Lookup, ...] = ()

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """The distinct entity fields, in order of first use."""
        return tuple(dict.fromkeys(view.entity for view in self.views))

    @cached_property
    def key_kinds(self) -> dict[str, KeyKind]:
        """The type of each key in Feast, by the field that holds it, including the keys of lookups."""
        asked = {key.name: key.key_kind for lookup in self.lookups for key in lookup.keys}
        return asked | {view.entity: view.key for view in self.views}

    @cached_property
    def key_types(self) -> tuple[type, ...]:
        """The Python type of each entity's key, in the order of `entities`."""
        return tuple(KEY_TYPES[self.key_kinds[entity]] for entity in self.entities)

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """The distinct topics that the views aggregate, in order of first use."""
        return tuple(dict.fromkeys(view.stream for view in self.views))

    @cached_property
    def aggregated(self) -> tuple[str, ...]:
        """The names of the views' features in vector order, as Feast spells full names."""
        return tuple(f"{view.name}__{a.name}" for view in self.views for a in view.aggregates)

    @cached_property
    def looked_up(self) -> tuple[str, ...]:
        """The names of the lookups' features in vector order; they follow those of the views."""
        return tuple(f"{lookup.name}__{f.name}" for lookup in self.lookups for f in lookup.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all features in vector order: of views, then lookups, then transforms."""
        transformed = (f"{t.name}__{o.name}" for t in self.transforms for o in t.outputs)
        return (*self.aggregated, *self.looked_up, *transformed)

    @cached_property
    def places(self) -> tuple[tuple[View, int, int], ...]:
        """Each view, with the start and end of its features in the vector."""
        ends = tuple(accumulate(len(view.aggregates) for view in self.views))
        return tuple(zip(self.views, (0, *ends), ends, strict=False))

    @cached_property
    def dtypes(self) -> tuple[Dtype, ...]:
        """The types of all features, in the order of `names`."""
        aggregated = (aggregate.dtype for view in self.views for aggregate in view.aggregates)
        looked_up = (feature.dtype for lookup in self.lookups for feature in lookup.features)
        transformed = (output.dtype for transform in self.transforms for output in transform.outputs)
        return (*aggregated, *looked_up, *transformed)

    @cached_property
    def fills(self) -> tuple[float, ...]:
        """How long (ms) the windows of each feature take to fill, in the order of `names`.

        The windows of a view are full when its longest one is; those of a transform, when those of all its
        views are. A feature of the event's time alone changes with the calendar and never fills.
        """
        of_view = {view.name: float(view.delay + view.longest + view.slide) for view in self.views}
        aggregated = (of_view[view.name] for view in self.views for _ in view.aggregates)
        looked_up = (0.0 for lookup in self.lookups for _ in lookup.features)
        transformed = (_fill(transform, of_view) for transform in self.transforms for _ in transform.outputs)
        return (*aggregated, *looked_up, *transformed)

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change when any feature does."""
        content = asdict(self)
        # keep the hash that the plan had before lookups and integer keys existed
        if not self.lookups:
            del content["lookups"]
        for view in content["views"]:
            if view["key"] == "text":
                del view["key"]
        return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]

    def views_of(self, entity: str) -> tuple[View, ...]:
        """Return the views of `entity`, in plan order."""
        return tuple(view for view in self.views if view.entity == entity)

    def to_json(self) -> bytes:
        """Return the plan as JSON, which `from_json` reads.

        >>> view = View("v", "origin", "departures", (Aggregate("n_1h", "count", "", 3_600_000),))
        >>> plan = FeaturePlan("service", (view,))
        >>> FeaturePlan.from_json(plan.to_json()) == plan
        True
        """
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)

    @staticmethod
    def from_json(data: bytes) -> "FeaturePlan":
        """Return the plan that `to_json` wrote."""
        raw: dict[str, Any] = orjson.loads(data)
        views = tuple(
            View(**{**v, "aggregates": tuple(Aggregate(**a) for a in v["aggregates"])}) for v in raw["views"]
        )
        transforms = tuple(
            Transform(
                name=t["name"],
                function=t["function"],
                code=t["code"],
                fields=tuple(Input(**f) for f in t["fields"]),
                views=tuple(t["views"]),
                outputs=tuple(Output(**o) for o in t["outputs"]),
            )
            for t in raw["transforms"]
        )
        lookups = tuple(
            Lookup(
                name=one["name"],
                keys=tuple(Input(**key) for key in one["keys"]),
                features=tuple(Output(**feature) for feature in one["features"]),
                freshness=one["freshness"],
            )
            for one in raw.get("lookups", ())
        )
        return FeaturePlan(raw["service"], views, transforms, raw["lateness"], lookups)


def _fill(transform: Transform, of_view: Mapping[str, float]) -> float:
    if not transform.views and all(field.kind == "time" for field in transform.fields):
        return inf
    return max((of_view.get(view, 0.0) for view in transform.views), default=0.0)
