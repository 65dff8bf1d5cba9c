"""The feature plan: a Feast declaration as plain data that loads fast and has a stable hash.

`driftline apply` compiles the Feast repository to a plan once (`flows.adapters.feast.compiler`). The flows
load it as JSON and never import Feast.
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

from flows.core.stored_format import PLAN
from flows.core.stream.fields import KeyKind
from flows.errors import ConfigError

Dtype = Literal["int", "float", "string"]
Kind = Literal["string", "number", "flag", "time"]

KEY_TYPES: dict[KeyKind, type] = {"text": str, "integer": int}
KEY_NAMES: dict[type, str] = {str: "a string", int: "an integer"}

COUNTS = ("count", "count_distinct")  # whole numbers, 0 for an empty window
NUMERIC = ("sum", "mean", "min", "max", "std", "var")
ANY_COLUMN = ("first", "last", "count_distinct")  # of numbers and texts
FUNCTIONS = ("count", *NUMERIC, *ANY_COLUMN, "time_since_last")  # besides quantiles such as p95
LATENESS = 3 * 3_600_000  # milliseconds

_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)")


def quantile(function: str) -> float | None:
    """Return the quantile that `function` names, None if it names none.

    >>> quantile("p99.9"), quantile("mean")
    (0.999, None)
    """
    match = _QUANTILE.fullmatch(function)
    share = round(float(match[1]) / 100, 5) if match else 0.0
    return share or None


@dataclass(frozen=True)
class Aggregate:
    """One feature: a function over one column of the view's stream in one window.

    `window` is in milliseconds; for a question at `t` it is `(t - window, t]`. `count` and `time_since_last`
    (seconds) read no column.
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

    - `entity` is the field with the entity's key, in the event and in the stream's records.
    - `excludes_own` excludes the record with the question's id, so that no event feeds its own features.
    - A record counts from `delay` ms after its time: the window of a question at `t` is
      `(t - delay - window, t - delay]`.
    - With a `slide` (ms) the windows end at the last multiple of `slide`, and the records are aggregated to
      tiles of that length; 0 is exact.
    - `key` is the kind of the entity's key in Feast.
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
        return hash(self.name)  # unique in a plan, and faster than hashing all aggregates

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that the aggregates read, without repeats, in order of first use."""
        return tuple(dict.fromkeys(a.column for a in self.aggregates if a.column))

    @cached_property
    def longest(self) -> int:
        """Length of the longest window, in milliseconds."""
        return max(a.window for a in self.aggregates)


@dataclass(frozen=True)
class Input:
    """An event field that is an argument of a transform or a key of a lookup.

    A transform gets a "time" as a datetime in UTC.
    """

    name: str
    kind: Kind

    @property
    def key_kind(self) -> KeyKind:
        """Kind of the field as a key."""
        return "text" if self.kind == "string" else "integer"


@dataclass(frozen=True)
class Output:
    """One feature of a transform or a lookup."""

    name: str
    dtype: Dtype


@dataclass(frozen=True)
class Lookup:
    """A Feast batch view: features of a table, by key in Feast's online store.

    `keys` are the event fields with the view's join keys. A question at `t` gets a value if its timestamp in
    the table is in `[t - freshness, t]`; `freshness` is in milliseconds.
    """

    name: str
    keys: tuple[Input, ...]
    features: tuple[Output, ...]
    freshness: int


@dataclass(frozen=True)
class Transform:
    """A Feast on-demand feature view in python mode: a function of event fields and of views' features.

    `function` is spelled `module:name`; it takes and returns a dict of lists with one value for each row.
    `code` is a hash of its source, so that a changed function changes the plan. It gets the event fields in
    `fields`, and the features of the views and lookups in `views`, by their full and short names.
    """

    name: str
    function: str
    code: str
    fields: tuple[Input, ...]
    views: tuple[str, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class FeaturePlan:
    """The features of one pipeline's feature service, in the order of the feature vector.

    A record counts if it is at most `lateness` ms behind the newest record of its stream.
    """

    service: str
    views: tuple[View, ...]
    transforms: tuple[Transform, ...] = ()
    lateness: int = LATENESS
    lookups: tuple[Lookup, ...] = ()

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Entity fields, without repeats, in order of first use."""
        return tuple(dict.fromkeys(view.entity for view in self.views))

    @cached_property
    def key_kinds(self) -> dict[str, KeyKind]:
        """Kinds of the keys in Feast, by the field that holds the key; includes the lookups' keys."""
        asked = {key.name: key.key_kind for lookup in self.lookups for key in lookup.keys}
        return asked | {view.entity: view.key for view in self.views}

    @cached_property
    def key_types(self) -> tuple[type, ...]:
        """Types of the entities' keys, in the order of `entities`."""
        return tuple(KEY_TYPES[self.key_kinds[entity]] for entity in self.entities)

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """Topics that the views aggregate, without repeats, in order of first use."""
        return tuple(dict.fromkeys(view.stream for view in self.views))

    @cached_property
    def aggregated(self) -> tuple[str, ...]:
        """Full names, as in Feast, of the views' features, in vector order."""
        return tuple(f"{view.name}__{a.name}" for view in self.views for a in view.aggregates)

    @cached_property
    def looked_up(self) -> tuple[str, ...]:
        """Full names of the lookups' features, in vector order."""
        return tuple(f"{lookup.name}__{f.name}" for lookup in self.lookups for f in lookup.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Full names of all features in vector order: of views, then of lookups, then of transforms."""
        transformed = (f"{t.name}__{o.name}" for t in self.transforms for o in t.outputs)
        return (*self.aggregated, *self.looked_up, *transformed)

    @cached_property
    def places(self) -> tuple[tuple[View, int, int], ...]:
        """Each view with the start and end of its features in the vector."""
        ends = tuple(accumulate(len(view.aggregates) for view in self.views))
        return tuple(zip(self.views, (0, *ends), ends, strict=False))

    @cached_property
    def dtypes(self) -> tuple[Dtype, ...]:
        """Types of all features, in the order of `names`."""
        aggregated = (aggregate.dtype for view in self.views for aggregate in view.aggregates)
        looked_up = (feature.dtype for lookup in self.lookups for feature in lookup.features)
        transformed = (output.dtype for transform in self.transforms for output in transform.outputs)
        return (*aggregated, *looked_up, *transformed)

    @cached_property
    def fills(self) -> tuple[float, ...]:
        """Time (ms) until the windows behind each feature are full, in the order of `names`.

        A view is full when its longest window is, a transform when all its views are. A transform of times
        only never is, because its values follow the calendar.
        """
        of_view = {view.name: float(view.delay + view.longest + view.slide) for view in self.views}
        aggregated = (of_view[view.name] for view in self.views for _ in view.aggregates)
        looked_up = (0.0 for lookup in self.lookups for _ in lookup.features)
        transformed = (_fill(transform, of_view) for transform in self.transforms for _ in transform.outputs)
        return (*aggregated, *looked_up, *transformed)

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any feature."""
        content = asdict(self)
        # defaults of fields that were added later are left out: they must not change the hash of older plans
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
        """Return the plan as JSON; `from_json` reads it.

        >>> view = View("v", "origin", "departures", (Aggregate("n_1h", "count", "", 3_600_000),))
        >>> plan = FeaturePlan("service", (view,))
        >>> FeaturePlan.from_json(plan.to_json()) == plan
        True
        """
        return orjson.dumps({"format": str(PLAN), **asdict(self)}, option=orjson.OPT_INDENT_2)

    @staticmethod
    def from_json(data: bytes) -> "FeaturePlan":
        """Return the plan that `to_json` wrote; raises `ConfigError` for one of another version."""
        try:
            raw: dict[str, Any] = orjson.loads(data)
            mismatch = PLAN.mismatch(raw.get("format"))
            if mismatch is None:
                return _parsed(raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            mismatch = f"must be JSON as `driftline apply` writes it, got {type(error).__name__}: {error}"
        raise ConfigError(f"the feature plan {mismatch}; run `driftline apply`")


def _parsed(raw: Mapping[str, Any]) -> FeaturePlan:
    """Return the plan of a JSON object; raises `KeyError` or `TypeError`."""
    views = tuple(
        View(**{**view, "aggregates": tuple(Aggregate(**each) for each in view["aggregates"])})
        for view in raw["views"]
    )
    transforms = tuple(
        Transform(
            name=transform["name"],
            function=transform["function"],
            code=transform["code"],
            fields=tuple(Input(**field) for field in transform["fields"]),
            views=tuple(transform["views"]),
            outputs=tuple(Output(**output) for output in transform["outputs"]),
        )
        for transform in raw["transforms"]
    )
    lookups = tuple(
        Lookup(
            name=lookup["name"],
            keys=tuple(Input(**key) for key in lookup["keys"]),
            features=tuple(Output(**feature) for feature in lookup["features"]),
            freshness=lookup["freshness"],
        )
        for lookup in raw["lookups"]
    )
    return FeaturePlan(raw["service"], views, transforms, raw["lateness"], lookups)


def _fill(transform: Transform, of_view: Mapping[str, float]) -> float:
    if not transform.views and all(field.kind == "time" for field in transform.fields):
        return inf
    return max((of_view.get(view, 0.0) for view in transform.views), default=0.0)
