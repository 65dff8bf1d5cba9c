"""The policies of a declaration: when the error is drift, and what is trained and promoted then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flows.core import arguments
from flows.core.arguments import Rule
from flows.core.declaration import (
    DRIFT_RULES,
    FLOOR_RULES,
    RETRAIN_RULES,
    SEARCH_RULES,
    contest_faults,
    drift_faults,
    search_faults,
    trigger_faults,
)
from flows.core.drift.features import FeaturePolicy
from flows.core.drift.levels import Detector, DriftKind
from flows.core.drift.quality import QualityPolicy
from flows.core.learning.candidates.search import Configuration, configurations
from flows.core.learning.policy import ContestPolicy
from flows.core.stream.times import in_milliseconds


@dataclass(frozen=True)
class DriftPolicy:
    """When a rise of the error, or a change of the served features and predictions, is drift.

    `detector` is one of River's. `delta` is the significance of ADWIN (Bifet and Gavaldà, 2007); `options`
    are the arguments of any other detector, by River's names. Raises `ConfigError` for a detector or an
    argument that River does not have.

    There is no alarm before `warm_up` labels of predictions with full windows, nor within `cool_down` (event
    time) of the last alarm, nor when the error fell.

    `period` is the length of a season: features and the event rate are compared with the same part of it.
    `kinds` are the kinds of drift to watch; "attribution" is one more, which costs more than the others.
    """

    delta: float = 0.002
    warm_up: int = 1000
    cool_down: timedelta = timedelta(days=7)
    detector: Detector = "adwin"
    options: Mapping[str, Any] = field(default_factory=dict)
    period: timedelta | None = timedelta(days=1)
    kinds: tuple[DriftKind, ...] = ("concept", "feature", "prediction", "quality")

    def __post_init__(self) -> None:
        arguments.check("DriftPolicy", self, DRIFT_RULES)
        arguments.refuse_any("DriftPolicy", drift_faults(self.detector, self.options, self.period))

    def features(self) -> FeaturePolicy:
        """Return the settings for feature and prediction drift."""
        return FeaturePolicy(cool_down=in_milliseconds(self.cool_down), period=self._period())

    def quality(self) -> QualityPolicy:
        """Return the settings for data quality."""
        return QualityPolicy(cool_down=in_milliseconds(self.cool_down), period=self._period())

    def _period(self) -> int | None:
        return None if self.period is None else in_milliseconds(self.period)


@dataclass(frozen=True)
class Search:
    """Models to try when candidates are trained.

    `models` are families: names and functions that return a new River estimator. `parameters` are by family
    and argument of its function the values to try: all combinations, at most 64.

    After the `first` labels of the pipeline a search decides which of them is served, once: all learn the
    older half of the labels, and the one with the lowest loss on the newer half wins. The winner
    replaces the declared model without a contest, and that is on watch for the `probation`. The declared
    model must be one of the families. With 0 there is no such search.
    """

    models: Mapping[str, Callable[..., Any]]
    parameters: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    first: int = 0

    def __post_init__(self) -> None:
        arguments.check("Search", self, SEARCH_RULES)
        arguments.refuse_any("Search", search_faults(self.models, self.parameters))

    def configurations(self) -> tuple[Configuration, ...]:
        """Return all combinations."""
        return configurations(self.models, self.parameters)


@dataclass(frozen=True)
class Floor:
    """The worst allowed value of one of the pipeline's metrics, over the last 1,000 labels.

    For a metric whose lower values are better, such as LogLoss, it is the highest allowed value.
    """

    metric: str
    value: float

    def __post_init__(self) -> None:
        arguments.check("Floor", self, FLOOR_RULES)


@dataclass(frozen=True)
class RetrainPolicy:
    """The response to a drift alarm, and further causes to train candidates.

    A challenger needs at least `minimum_labels` to train on. At most `challengers` are compared with the
    champion at once; beyond that the one with the least evidence is retired.

    A challenger is promoted when a sequential test finds it better than the champion, after at least
    `minimum_labels_compared` labels, with a gain of at least `minimum_effect` (of the task's loss). It is
    retired after `patience` labels without that. `significance` is the probability that any challenger of a
    champion is promoted without being better. The test's observations are means over `block` labels, which
    should be long enough to be nearly independent; ten of them are needed in any case. Where there are ten
    blocks of two, four, eight, ... times the length, the test must find the same with these.

    The first candidate of an alarm is champion at once. For `trial` labels, a model in the shadow that has a
    lower loss by now replaces the champion: at most one in 1 / `significance` labels if all are equal.

    With `approval`, a person promotes the challenger that won. After a promotion the former champion stays in
    the shadow for `probation` labels, and becomes champion again if the same test finds it better. There is
    no trial with `approval` or a `canary`, nor without a probation.

    With a `canary`, a challenger that won is first served to this share of the entities, by the key of the
    pipeline's first entity, or without entities by the event's id, until `canary_labels` more labels were
    compared and it is still better.

    Candidates are also trained when the last training is `schedule` ago (event time), and when a metric is
    worse than the `floor`; neither within `cool_down` (event time) of the last training. They learn the last
    `window`, and after an alarm a further candidate does. The best model of the `search` is one more.

    The training of a candidate, and the search, end after `budget` (time of this machine). One that takes
    more than `memory` megabytes is dropped.
    """

    minimum_labels: int = 20
    challengers: int = 3
    significance: float = 0.01
    patience: int = 50_000
    block: int = 50
    minimum_labels_compared: int = 0
    minimum_effect: float = 0.0
    probation: int = 20_000
    trial: int = 3_000
    approval: bool = False
    canary: float = 0.0
    canary_labels: int = 5_000
    search: Search | None = None
    schedule: timedelta | None = None
    floor: Floor | None = None
    cool_down: timedelta = timedelta(days=1)
    window: timedelta | None = None
    budget: timedelta = timedelta(minutes=10)
    memory: int = 512

    def __post_init__(self) -> None:
        arguments.check("RetrainPolicy", self, {**RETRAIN_RULES, **_CANDIDATES})
        arguments.refuse_any(
            "RetrainPolicy",
            trigger_faults(self.schedule, self.floor is not None, self.window, self.budget),
        )
        arguments.refuse_any(
            "RetrainPolicy",
            contest_faults(self.block, self.patience, self.minimum_labels_compared, self.probation),
        )

    @property
    def reads_metrics(self) -> bool:
        """Whether a cause to train candidates is read from the metrics."""
        has_first = self.search is not None and self.search.first > 0
        return has_first or self.schedule is not None or self.floor is not None

    def contests(self) -> ContestPolicy:
        """Return the settings of the contests."""
        return ContestPolicy(
            self.significance,
            self.patience,
            self.block,
            self.challengers,
            self.minimum_labels_compared,
            self.minimum_effect,
            self.probation,
            self.approval,
            self.canary,
            self.canary_labels,
            self.trial,
        )


_CANDIDATES: dict[str, Rule] = {
    "search": arguments.optional(arguments.instance_of(Search)),
    "floor": arguments.optional(arguments.instance_of(Floor)),
}
