"""The settings of a learner, from the declaration of the pipeline."""

from collections.abc import Mapping
from typing import NamedTuple

from flows.core.drift.levels import Detector
from flows.core.drift.monitor import MonitorSettings
from flows.core.evaluation.label_join import MAX_PENDING
from flows.core.learning.outliers import Outliers
from flows.core.models.tasks import Truth


class ContestPolicy(NamedTuple):
    """When a challenger replaces the champion; `patience`, `block`, `probation` and `trial` are in labels.

    `significance` is the probability that any of a champion's challengers replaces it without being better.
    `minimum_effect` is in units of the task's loss. With `approval` a person promotes the winner.
    The first candidate of an alarm is on trial for `trial` labels.
    With `canary` a share of the entities is served by the winner for `canary_labels` labels first.
    """

    significance: float
    patience: int
    block: int
    challengers: int = 3
    minimum_labels: int = 0
    minimum_effect: float = 0.0
    probation: int = 0
    approval: bool = False
    canary: float = 0.0  # the share of entities
    canary_labels: int = 0
    trial: int = 0


class Policy(NamedTuple):
    """The settings of a learner; durations in milliseconds."""

    label_wait: int
    delta: float
    warm_up: int
    cool_down: int
    contests: ContestPolicy
    detector: Detector = "adwin"
    options: Mapping[str, object] = {}  # of the detector; ADWIN uses `delta` instead
    monitor: MonitorSettings = MonitorSettings()
    default_label: Truth | None = None
    max_pending: int = MAX_PENDING
    outliers: Outliers = "clip"
