"""What the retrain flow, a trainer and its jobs tell one another, over pipes of this machine."""

from pathlib import Path
from typing import Literal, NamedTuple

from flows.core.learning.candidates.triggers import Trigger
from flows.core.stream.broker import Outgoing
from flows.settings import Settings

Outcome = Literal[
    "challenger", "too-few-labels", "no-champion", "no-better", "over-budget", "over-memory", "failed"
]


class TrainerPlace(NamedTuple):
    """The project directory, the settings and the name of the pipeline, from which a trainer starts."""

    project: Path
    settings: Settings
    pipeline: str


class TrainingOrder(NamedTuple):
    """The trigger to train candidates for, without those that are `done` (versions)."""

    place: TrainerPlace
    trigger: Trigger
    done: frozenset[str]


class TrainingProgress(NamedTuple):
    """The number of rows that the training of a candidate has learned."""

    version: str
    rows: int


class Trained(NamedTuple):
    """A candidate, as a record of the models topic."""

    version: str
    record: Outgoing


class Dropped(NamedTuple):
    """A candidate, or a configuration of the search, that is not trained further, and why."""

    version: str
    outcome: Outcome
    detail: str


class Waiting(NamedTuple):
    """A candidate whose labels are too few yet; it is trained when there are more."""

    version: str
    detail: str


class RowsCounted(NamedTuple):
    """The number of rows of a search."""

    rows: int


class Measured(NamedTuple):
    """The mean loss of a configuration; None if it could not be compared."""

    loss: float | None


TrainerMessage = TrainingProgress | Trained | Dropped | Waiting
JobResult = Trained | Dropped | Waiting | RowsCounted | Measured
