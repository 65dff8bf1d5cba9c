"""The labels that a candidate has learned, so that the learner continues with the next one."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

ASSUMED = -1  # the partition of default labels; their offset is the time (ms) when they are known
EARLY = 1000  # labels without a prediction that a cut names; the newest ones

Offsets = Mapping[int, int]


class LearnedRow(NamedTuple):
    """An event that the models learned, by the position of its label, or `ASSUMED` and its time.

    A task that does not learn from labels has the position of the prediction, and None as the truth.
    """

    partition: int
    offset: int
    time: int
    id: str
    truth: Any
    features: Any


class Cut(NamedTuple):
    """Where in the log a training ended.

    It read the labels and the predictions before these offsets (by partition), and learned the rows whose
    label is known at `since` (ms) or later, but not those of the ids in `early`, whose prediction it did not
    find. `is_of_labels`: the task learns from labels; else a row is a prediction.
    """

    since: int
    labels: Offsets
    predictions: Offsets
    early: frozenset[str] = frozenset()
    is_of_labels: bool = True

    @property
    def rows(self) -> Offsets:
        """The offsets of the records that make a row."""
        return self.labels if self.is_of_labels else self.predictions

    def is_reached(self, labels: Offsets, predictions: Offsets) -> bool:
        """Return whether a reader at these next offsets has read all that the training read."""
        return _reaches(labels, self.labels) and _reaches(predictions, self.predictions)

    def misses(self, row: LearnedRow) -> bool:
        """Return whether the training has not learned a row that it should have."""
        is_before = row.offset < self.rows.get(row.partition, 0)
        return row.time >= self.since and (not is_before or row.id in self.early)

    def to_json(self) -> dict[str, Any]:
        """Return the cut as plain data; `from_json` reads it."""
        return {
            "since": self.since,
            "labels": {str(partition): offset for partition, offset in self.labels.items()},
            "predictions": {str(partition): offset for partition, offset in self.predictions.items()},
            "early": sorted(self.early),
            "of_labels": self.is_of_labels,
        }

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "Cut":
        """Return the cut that `to_json` wrote."""
        labels, predictions = (
            {int(partition): offset for partition, offset in raw[name].items()}
            for name in ("labels", "predictions")
        )
        return Cut(raw["since"], labels, predictions, frozenset(raw["early"]), raw["of_labels"])


def _reaches(read: Offsets, needed: Offsets) -> bool:
    return all(
        read.get(partition, 0) >= offset for partition, offset in needed.items() if partition != ASSUMED
    )


def early_ids(ids: Iterable[str]) -> frozenset[str]:
    """Return the ids that a cut names, of those in the order of arrival."""
    return frozenset(list(ids)[-EARLY:])
