"""The rows that the learner learned last, for candidates that have not learned them yet."""

from typing import Any

from flows.core.evaluation.label_join import Joined
from flows.core.learning.candidates.cuts import ASSUMED, Cut, LearnedRow
from flows.core.learning.candidates.order import LearnedOrder, Run, as_runs
from flows.core.models.model import Prediction

KEPT = 2000  # rows; all of them are stored in each snapshot of the learner
_SLACK = 500  # further rows before the oldest are removed together


class RecentRows:
    """The last rows, at least `KEPT` of them, and the order of those learned since it was last taken.

    Of the others it knows, by partition, the end of their offsets and their latest time, which tells whether
    a candidate misses one that is no longer here.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []  # as `LearnedRow`
        self._removed: dict[int, tuple[int, int]] = {}
        self._before = 0  # rows that were removed
        self._taken = 0  # rows whose order was taken
        self._runs: list[Run] = []  # of the rows after those that were removed before their order was taken
        self._assumed: list[str] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, joined: Joined) -> None:
        """Add a label that was joined."""
        (prediction, _, _), (event_id, time, truth, record) = joined
        rows = self._rows  # not by `_add`: a call costs as much as the rest, and there is one for each label
        rows.append((record[1], record[2], time, event_id, truth, prediction.features))
        if len(rows) >= KEPT + _SLACK:
            self._remove()

    def add_assumed(self, joined: Joined) -> None:
        """Add a default label, whose record is that of another event."""
        (prediction, _, _), (event_id, time, truth, _) = joined
        self._add((ASSUMED, time, time, event_id, truth, prediction.features))

    def add_event(self, prediction: Prediction, partition: int, offset: int) -> None:
        """Add an event that is learned without a label."""
        self._add((partition, offset, prediction.time, prediction.id, None, prediction.features))

    @property
    def count(self) -> int:
        """The number of rows ever added."""
        return self._before + len(self._rows)

    def take_order(self) -> LearnedOrder | None:
        """Return the order of the rows added since the last call, None if there are none."""
        first, runs, assumed = self._taken, self._runs, self._assumed
        self._note(len(self._rows))
        self._taken, self._runs, self._assumed = self.count, [], []
        return LearnedOrder(first, runs, assumed) if runs else None

    def missed(self, cut: Cut) -> list[LearnedRow] | None:
        """Return the rows that a training with this cut has not learned, in the order of the learner.

        Returns None if some of them are no longer here.
        """
        for partition, (end, latest) in self._removed.items():
            if latest >= cut.since and end > cut.rows.get(partition, 0):
                return None
        return [row for row in map(LearnedRow._make, self._rows) if cut.misses(row)]

    def _add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) >= KEPT + _SLACK:
            self._remove()

    def _note(self, end: int) -> None:
        """Add the order of the rows before index `end` that is not known yet."""
        noted = self._taken + sum(run.length for run in self._runs) - self._before
        runs, assumed = as_runs(self._rows[noted:end])
        self._runs += runs
        self._assumed += assumed

    def _remove(self) -> None:
        self._note(len(self._rows) - KEPT)
        self._before += len(self._rows) - KEPT
        removed, self._rows = self._rows[:-KEPT], self._rows[-KEPT:]
        for partition in {row[0] for row in removed}:
            end, latest = self._removed.get(partition, (0, 0))
            rows = [row for row in removed if row[0] == partition]
            last, newest = max(row[1] for row in rows), max(row[2] for row in rows)
            self._removed[partition] = max(end, last + 1), max(latest, newest)
