"""Schedules the metrics and assessments of the learner."""

import time

from flows.adapters.prometheus import metrics
from flows.core.learning.learner import Learner
from flows.core.learning.messages import measurements, metrics_record
from flows.core.stream.broker import Outgoing
from flows.runtime.steps.learner_gauges import LearnerGauges

_MEASURE_EVERY = 0.5  # seconds between metrics; they cost more than a model
ASSESS_EVERY = 5.0  # seconds between assessments; one takes several milliseconds


class LearnerReports:
    """Publishes the learner's metrics often and its assessment rarely, and only after new labels.

    `measured` and `assessed` are the number of labels of the last metrics and of the last assessment.
    """

    def __init__(
        self, topic: str, learner: Learner, gauges: LearnerGauges, measured: int, assessed: int
    ) -> None:
        self.measured = measured
        self.assessed = assessed
        self._topic = topic
        self._learner = learner
        self._gauges = gauges
        self._measure_at = self._assess_at = 0.0  # by the monotonic clock

    @property
    def metrics_pending(self) -> bool:
        """Whether labels came after the last metrics."""
        return self.measured != self._learner.evaluation.labels

    @property
    def assessment_due(self) -> float | None:
        """When the next assessment is due, by the monotonic clock; None without new labels."""
        return None if self.assessed == self._learner.evaluation.labels else self._assess_at

    def due(self) -> list[Outgoing]:
        """Return the metrics and the assessment, each if it is time."""
        now = time.monotonic()
        out = self.metrics() if now >= self._measure_at else []
        return out + self.assessment() if now >= self._assess_at else out

    def after_pause(self) -> list[Outgoing]:
        """Return the metrics, and the assessment if it is time."""
        out = self.metrics()
        return out + self.assessment() if time.monotonic() >= self._assess_at else out

    def last(self) -> list[Outgoing]:
        """Return the metrics and the assessment at the end of the flow."""
        return self.metrics() + self.assessment()

    def metrics(self) -> list[Outgoing]:
        """Return the metrics if there are new labels."""
        self._measure_at = time.monotonic() + _MEASURE_EVERY
        labels = self._learner.evaluation.labels
        if not self.metrics_pending:
            return []
        metrics.LABELS_JOINED.inc(labels - self.measured)
        self.measured = labels
        measured = measurements(self._learner)
        self._gauges.show_metrics(measured["metrics"])
        return [metrics_record(self._topic, "metrics", self._learner, measured)]

    def assessment(self) -> list[Outgoing]:
        """Return the metrics and the assessment if there are new labels.

        The metrics come first, so that the assessment is the last record of these labels also after a crash
        between the two.
        """
        self._assess_at = time.monotonic() + ASSESS_EVERY
        evaluation = self._learner.evaluation
        if self.assessed == evaluation.labels:
            return []
        out = self.metrics()
        self.assessed = evaluation.labels
        assessment = evaluation.assessment()
        metrics.assessed(assessment)
        body = {**measurements(self._learner), "assessment": assessment}
        return [*out, metrics_record(self._topic, "assessment", self._learner, body)]
