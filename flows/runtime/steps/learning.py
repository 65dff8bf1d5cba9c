"""The step of the learn flow."""

import logging
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from flows.adapters.prometheus import metrics
from flows.core.evaluation.block_store import BlockStore
from flows.core.features.plan import FeaturePlan
from flows.core.learning.candidates import CandidateIntake
from flows.core.learning.learner import Learner
from flows.core.models.model import Model, Role
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Outgoing, Record
from flows.errors import StoreError
from flows.pipeline import Pipeline
from flows.runtime.flow_io import FlowIO
from flows.runtime.learner import new_learner
from flows.runtime.steps.learner_feed import LearnerFeed
from flows.runtime.steps.learner_gauges import LearnerGauges
from flows.runtime.steps.learner_reports import LearnerReports
from flows.runtime.steps.model_publisher import ModelPublisher, newest_sequence

_log = logging.getLogger("driftline.learn")


class LearnState(NamedTuple):
    """The stored state, as a plain tuple.

    `published` counts the learner's steps in the last models; `measured` and `assessed` count the labels in
    the last metrics and assessment. `sequence` is that of the last model, `candidate` that of the last
    candidate. `models_read` has the next offset of each partition of the models topic.
    """

    learner: Learner
    published: int
    measured: int
    assessed: int
    sequence: int
    candidate: int
    models_read: dict[int, int]


class LearnStep:
    """The only key of the learn flow: drives the learner and publishes models, metrics and signals.

    With `blocks`, a snapshot refers to the bulk of the state, which is there, instead of containing it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: FeaturePlan,
        io: FlowIO,
        sealer: Sealer,
        model_seconds: float,
        state: bytes | None,
        blocks: BlockStore | None = None,
    ) -> None:
        stored = (
            LearnState(*sealer.open_state(state))
            if state
            else LearnState(new_learner(pipeline, plan), 0, 0, 0, 0, 0, {})
        )
        models_topic = pipeline.topic("models")
        with closing(io.open_broker()) as broker:
            written = newest_sequence(broker, models_topic, sealer, stored.models_read)
        sequence = max(stored.sequence, written)
        if blocks is not None:
            stored.learner.load(blocks)
        self._sealer = sealer
        self._blocks = blocks
        self._drain = io.drain
        self._learner = stored.learner
        self._learner.redeclare(pipeline.max_pending, pipeline.outliers)
        self._published = stored.published
        self._models_read = stored.models_read
        self._publisher = ModelPublisher(pipeline.name, models_topic, sealer, sequence, model_seconds)
        self._candidates = CandidateIntake(pipeline.name, pipeline.task, sealer, stored.candidate)
        self._gauges = LearnerGauges(self._learner, pipeline.max_pending, pipeline.outliers)
        self._reports = LearnerReports(
            pipeline.topic("metrics"), self._learner, self._gauges, stored.measured, stored.assessed
        )
        self._feed = LearnerFeed(
            pipeline, self._learner, self._publisher, self._candidates, self._gauges, self._models_read
        )
        self._publish_at = 0.0  # by the monotonic clock

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        """Learn from the records; return what is to be published."""
        out: list[Outgoing] = []
        with metrics.STAGE.labels("learn").time():
            for records in values:
                out += self._feed.take(records)
        self._gauges.show_pending()
        if time.monotonic() >= self._publish_at:
            out += self._models()
        return [out + self._reports.due()]

    def due(self) -> datetime | None:
        """Return when to publish what is not published yet (UTC), None if there is nothing."""
        moments = []
        if self._published != self._learner.steps or self._reports.metrics_pending:
            moments.append(self._publish_at)
        if (assess_at := self._reports.assessment_due) is not None:
            moments.append(assess_at)
        if not moments:
            return None
        return datetime.now(UTC) + timedelta(seconds=max(0.0, min(moments) - time.monotonic()))

    def wake(self) -> Iterable[list[Outgoing]]:
        """Return what is to be published after a pause; everything, if the flow drains."""
        if self._drain.is_set():
            return [self._models() + self._reports.last()]
        models = self._models() if time.monotonic() >= self._publish_at else []
        return [models + self._reports.after_pause()]

    def snapshot(self) -> bytes:
        """Return the state, sealed; raises `StateError` if the blocks cannot be stored."""
        if self._blocks is not None:
            self._learner.store(self._blocks)
        state = LearnState(
            self._learner,
            self._published,
            self._reports.measured,
            self._reports.assessed,
            self._publisher.sequence,
            self._candidates.sequence,
            self._models_read,
        )
        return self._sealer.seal_state(tuple(state))

    def _models(self) -> list[Outgoing]:
        """Return the records of the models, if they have learned since the last publication.

        A model that learns after a pause longer than the interval is published at once. If a large model
        cannot be stored, the next attempt follows after the interval; the predictors keep the one they have.
        """
        learner = self._learner
        if self._published == learner.steps:
            return []
        models: dict[Role, Model] = {"champion": learner.champion}
        if learner.challenger is not None:
            models["challenger"] = learner.challenger
        records: list[Outgoing] = []
        try:
            records = self._publisher.publication(models, learner.learned_until, learner.lineage)
            self._published = learner.steps
        except StoreError as error:
            _log.warning("the models were not published, and will be later: %s", error)
        self._publish_at = time.monotonic() + self._publisher.pause
        return records
