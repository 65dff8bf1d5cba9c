"""Computes a model again: a state that was stored, and the rows that it learned after it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.training import LabelledRow, Training
from flows.core.models.announcements import Reference
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.registry.entry import Snapshot


class RegisteredState(NamedTuple):
    """What is stored of a registered version.

    `outliers` and `rows` are the learner's at that moment: its filter, and how many rows it had learned.
    """

    estimator: Any
    outliers: OutlierFilter
    rows: int

    @staticmethod
    def restored(sealer: Sealer, snapshot: Snapshot) -> "RegisteredState":
        """Return a state that was stored with an entry; raises `SnapshotError`."""
        return RegisteredState(*sealer.restore(Reference(snapshot.sha256, snapshot.size)))


class Replay:
    """Trains `model`, which has this state, on the rows after it, as the learner did; `row` is the next."""

    def __init__(self, state: RegisteredState, model: Model, names: Sequence[str]) -> None:
        self.model = model
        self.row = state.rows
        self._training = Training(model, names, state.outliers, _ignore)

    def learn(self, row: LabelledRow) -> None:
        """Learn the next row."""
        self._training.learn(row)
        self.row += 1


def _ignore(error: Exception) -> None:
    """The learner wrote a dead letter for a row that a model cannot learn."""
