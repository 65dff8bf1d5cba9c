"""The feature plan: what Feast declares, as plain data that starts fast and hashes stably.

`driftline apply` compiles the Feast repository to a plan once (`flows.adapters.feast_repo`); the flows
load it as JSON and never import Feast.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, get_args

import orjson

Function = Literal["count", "sum", "mean", "max", "min"]
FUNCTIONS: tuple[str, ...] = get_args(Function)


@dataclass(frozen=True)
class Aggregate:
    """One feature: a function over one column of the view's stream in one window.

    `window` is in milliseconds; the window of a question asked at `t` is `(t - window, t]`.
    """

    name: str
    function: Function
    column: str
    window: int


@dataclass(frozen=True)
class View:
    """A Feast stream feature view: aggregates of one stream, kept for each value of one entity.

    `entity` is the field that holds the entity's key in the event and in the stream's records.
    `excludes_own` leaves a record out of the answer to the question that has the same id, so that an
    event never feeds its own features.
    """

    name: str
    entity: str
    stream: str
    aggregates: tuple[Aggregate, ...]
    excludes_own: bool = False

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that the aggregates read, each once, in order of first use."""
        return tuple(dict.fromkeys(a.column for a in self.aggregates if a.column))


@dataclass(frozen=True)
class FeaturePlan:
    """The views of one pipeline's feature service, in the order of its feature vector."""

    service: str
    views: tuple[View, ...]

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """The entity fields, each once, in order of first use."""
        return tuple(dict.fromkeys(view.entity for view in self.views))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The feature names in vector order, spelled as Feast spells them with full names."""
        return tuple(f"{view.name}__{a.name}" for view in self.views for a in view.aggregates)

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change when any feature does."""
        return sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]

    def views_of(self, entity: str) -> tuple[View, ...]:
        """The views kept for `entity`, in plan order."""
        return tuple(view for view in self.views if view.entity == entity)

    def to_json(self) -> bytes:
        """The plan as JSON; `from_json` gives it back.

        >>> view = View("v", "origin", "departures", (Aggregate("n_1h", "count", "", 3_600_000),))
        >>> plan = FeaturePlan("service", (view,))
        >>> FeaturePlan.from_json(plan.to_json()) == plan
        True
        """
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)

    @staticmethod
    def from_json(data: bytes) -> "FeaturePlan":
        """The plan that `to_json` wrote."""
        raw: dict[str, Any] = orjson.loads(data)
        views = tuple(
            View(**{**v, "aggregates": tuple(Aggregate(**a) for a in v["aggregates"])}) for v in raw["views"]
        )
        return FeaturePlan(raw["service"], views)
