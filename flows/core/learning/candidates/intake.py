"""Candidates of the retrain flow, which become challengers."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flows.core.learning.candidates.cuts import Cut
from flows.core.learning.events import Cause, CauseKind, LearnerEvent
from flows.core.learning.learner import Learner, position
from flows.core.models.announcements import Announcement
from flows.core.models.model import ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Record, TopicPartition
from flows.errors import StaleSnapshot

CUT = "cut"  # in the lineage of a candidate; not kept in that of the challenger

_CAUSES: Mapping[str, CauseKind] = {
    "alarm": "alarm",
    "schedule": "schedule",
    "floor": "floor",
    "first": "first",
    "command": "command",
}


class IntakeState(NamedTuple):
    """What the intake stores, as a plain tuple.

    `sequence` is that of the last trigger with a candidate. `waiting` are the candidates whose training has
    read more than the learner. `read` has the next offset of each partition, by topic.
    """

    sequence: int
    waiting: tuple[Record, ...]
    read: dict[str, dict[int, int]]


NOTHING_TAKEN = IntakeState(0, (), {})


class CandidateIntake:
    """Makes each candidate of a pipeline and task a challenger, once.

    A candidate has the sequence of its trigger, which is the trigger's event time (ms). All candidates of the
    newest trigger are taken, and none of an older one. A candidate waits until the learner has read what its
    training has read, so that each label is learned once.
    """

    def __init__(
        self, pipeline: str, task: str, topics: tuple[str, str], sealer: Sealer, state: IntakeState
    ) -> None:
        self._pipeline = pipeline
        self._task = task
        self._labels, self._predictions = topics
        self._sealer = sealer
        self._sequence = state.sequence
        self._waiting = list(state.waiting)
        self._read = {topic: dict(state.read.get(topic, {})) for topic in topics}

    def state(self) -> IntakeState:
        """Return the state to store."""
        return IntakeState(self._sequence, tuple(self._waiting), self._read)

    def advance(self, records: Iterable[Record]) -> None:
        """Note that the learner has read these records."""
        ends = {record[:2]: record[2] for record in records}
        for (topic, partition), offset in ends.items():
            if topic in self._read:
                self._read[topic][partition] = offset + 1

    def has_read(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Return whether the learner has read the labels and predictions before these offsets."""
        return all(self._read[topic].get(partition, 0) >= end for (topic, partition), end in ends.items())

    def take(self, record: Record, learner: Learner) -> None:
        """Let the candidate in `record` wait; a repetition is ignored.

        Raises `StaleSnapshot` for a candidate of another pipeline or task, or of an older trigger, and
        `SnapshotError`.
        """
        announced = self._sealer.announced(record)
        if (announced.pipeline, announced.task, announced.role) != (self._pipeline, self._task, "candidate"):
            raise StaleSnapshot(
                f"a candidate must be one of pipeline {self._pipeline!r} and task {self._task!r}, got "
                f"{announced.role} of {announced.pipeline!r} and {announced.task!r}; it was ignored"
            )
        if announced.version in learner.lineage or record.key in [each.key for each in self._waiting]:
            return
        if announced.sequence < self._sequence:
            raise StaleSnapshot(
                f"a candidate must answer the trigger number {self._sequence} or a later one, got one for "
                f"{announced.sequence}; it was ignored"
            )
        self._sequence = announced.sequence
        self._waiting.append(record)

    def next_ready(self) -> Record | None:
        """Remove and return a candidate whose training has read no more than the learner, if there is one."""
        for record in self._waiting:
            cut = _cut(self._sealer.announced(record))
            if cut is None or cut.is_reached(self._read[self._labels], self._read[self._predictions]):
                self._waiting.remove(record)
                return record
        return None

    def admit(self, record: Record, learner: Learner) -> list[LearnerEvent]:
        """Make a candidate the learner's challenger; return what follows from that.

        Raises `StaleSnapshot` if the learner no longer knows the labels since the training, and
        `SnapshotError`.
        """
        announced = self._sealer.announced(record)
        model = self._sealer.load(announced)
        lineage = {name: value for name, value in announced.lineage.items() if name != CUT}
        message = ModelMessage(
            announced.pipeline, "challenger", announced.time, model, lineage, announced.sequence
        )
        return learner.challenged(message, _cause(lineage, model.learned), _cut(announced), position(record))


def _cut(announced: Announcement) -> Cut | None:
    raw = announced.lineage.get(CUT)
    return None if raw is None else Cut.from_json(raw)


def _cause(lineage: Mapping[str, Any], learned: int) -> Cause:
    kind = _CAUSES.get(str(lineage.get("cause")), "alarm")
    why = str(lineage.get("why", "trained on the labels since a change"))
    return Cause(kind, why, {"labels": lineage.get("trained_on", learned)})
