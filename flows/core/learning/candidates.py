"""Candidates of the retrain flow, which become challengers."""

from flows.core.learning.learner import Learner, LearnerEvent, RoleChange
from flows.core.models.model import ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Record
from flows.errors import StaleSnapshot


class CandidateIntake:
    """Makes each candidate of a pipeline and task the challenger, once and in order.

    `sequence` is that of the last candidate; a candidate has that of the drift signal it answers.
    """

    def __init__(self, pipeline: str, task: str, sealer: Sealer, sequence: int) -> None:
        self.sequence = sequence
        self._pipeline = pipeline
        self._task = task
        self._sealer = sealer

    def take(self, record: Record, learner: Learner) -> list[LearnerEvent]:
        """Make the candidate in `record` the learner's challenger; return the new roles of models.

        Raises `StaleSnapshot` for a candidate of another pipeline or task, or for an old one that was sent
        again, and `SnapshotError`.
        """
        announced = self._sealer.announced(record)
        if (announced.pipeline, announced.task, announced.role) != (self._pipeline, self._task, "candidate"):
            raise StaleSnapshot(
                f"a candidate must be one of pipeline {self._pipeline!r} and task {self._task!r}, got "
                f"{announced.role} of {announced.pipeline!r} and {announced.task!r}; it was ignored"
            )
        if announced.version in learner.lineage:  # a repetition
            return []
        if announced.sequence <= self.sequence:
            raise StaleSnapshot(
                f"a candidate must answer a drift signal after number {self.sequence}, got one for "
                f"{announced.sequence}; it was ignored"
            )
        message = ModelMessage(
            announced.pipeline,
            "challenger",
            announced.time,
            self._sealer.load(announced),
            announced.lineage,
            announced.sequence,
        )
        self.sequence = announced.sequence
        return [*learner.challenged(message), RoleChange("challenger", message.model)]
