"""The step of the learn flow."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flows.adapters.prometheus import metrics
from flows.core.block_store import BlockStore
from flows.core.features.plan import FeaturePlan
from flows.core.learning.candidates.intake import NOTHING_TAKEN, CandidateIntake, IntakeState
from flows.core.learning.learner import Learner
from flows.core.models.model import Model, Role
from flows.core.models.snapshots import Sealer
from flows.core.registry.command import CommandSealer
from flows.core.registry.ledger import Ledger
from flows.core.stream.broker import Outgoing, Record, TopicPartition
from flows.errors import StoreError
from flows.pipeline import Pipeline
from flows.runtime.flow_io import FlowIO
from flows.runtime.learner import new_learner
from flows.runtime.steps.learner_feed import LearnerFeed
from flows.runtime.steps.learner_gauges import LearnerGauges
from flows.runtime.steps.learner_reports import LearnerReports
from flows.runtime.steps.model_publisher import ModelPublisher, newest_sequence
from flows.runtime.steps.registrar import Registrar, open_ledger

_IDLE = 5.0  # seconds without a record after which the log has no more

_log = logging.getLogger("driftline.learn")


class LearnState(NamedTuple):
    """The stored state, as a plain tuple.

    `published` counts the learner's steps in the last models; `measured` and `assessed` count the labels in
    the last metrics and assessment. `sequence` is that of the last model, `candidates` the plain
    `IntakeState`, and `entry` the number of the last entry of the registry. `models_read` has the next offset
    of each partition of the models topic.
    """

    learner: Learner
    published: int
    measured: int
    assessed: int
    sequence: int
    candidates: tuple[Any, ...]
    entry: int
    models_read: dict[int, int]


DeclaredLineage = Callable[[], Mapping[str, object]]


class Written(NamedTuple):
    """What the log has when the flow starts, which after a crash is ahead of its state.

    `sequence` is that of the last model, and `ends` are those of the labels and the predictions.
    """

    sequence: int
    ledger: Ledger
    ends: Mapping[TopicPartition, int]


class LearnStep:
    """The only key of the learn flow: drives the learner and publishes models, metrics and signals.

    `declared` gives the lineage of the declared model. With `blocks`, a snapshot refers to the bulk of the
    state, which is there, instead of containing it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: FeaturePlan,
        io: FlowIO,
        sealer: Sealer,
        model_seconds: float,
        secrets: Sequence[bytes],
        declared: DeclaredLineage,
        state: bytes | None,
        blocks: BlockStore | None = None,
    ) -> None:
        stored = LearnState(*sealer.open_state(state)) if state else _first_state(pipeline, plan, declared)
        written = _written(pipeline, io, sealer, secrets, stored)
        self._sealer = sealer
        self._blocks = blocks
        self._drain = io.drain
        self._learner = _declared_anew(stored.learner, pipeline, blocks)
        self._published = stored.published
        self._models_read = stored.models_read
        self._ends = written.ends
        self._learned_topic = pipeline.topic("learned")
        self._publisher = ModelPublisher(
            pipeline.name, pipeline.topic("models"), sealer, written.sequence, model_seconds
        )
        self._candidates = _intake(pipeline, sealer, IntakeState(*stored.candidates))
        self._gauges = LearnerGauges(self._learner, pipeline.max_pending, pipeline.outliers)
        self._reports = LearnerReports(
            pipeline.topic("metrics"), self._learner, self._gauges, stored.measured, stored.assessed
        )
        self._registrar = Registrar(
            self._learner, written.ledger, CommandSealer(pipeline.name, secrets), sealer
        )
        parts = (self._publisher, self._candidates, self._gauges, self._registrar)
        self._feed = LearnerFeed(pipeline, self._learner, *parts, self._models_read)
        self._publish_at = 0.0  # by the monotonic clock
        self._is_behind = self._registrar.is_behind
        self._idle_at = time.monotonic() + _IDLE

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        """Learn from the records; return what is to be published."""
        out: list[Outgoing] = []
        with metrics.STAGE.labels("learn").time():
            for records in values:
                out += self._feed.take(records)
        self._idle_at = time.monotonic() + _IDLE
        if self._is_behind:
            out += self._caught_up(self._candidates.has_read(self._ends))
        self._gauges.show_pending()
        if time.monotonic() >= self._publish_at:
            out += self._models()
        return [out + self._reports.due()]

    def due(self) -> datetime | None:
        """Return when to publish what is not published yet (UTC), None if there is nothing."""
        moments = []
        if self._is_behind:
            moments.append(self._idle_at)
        elif self._published != self._learner.steps or self._reports.metrics_pending:
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
        out = self._caught_up(time.monotonic() >= self._idle_at) if self._is_behind else []
        if time.monotonic() >= self._publish_at:
            out += self._models()
        return [out + self._reports.after_pause()]

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
            tuple(self._candidates.state()),
            self._registrar.entry,
            self._models_read,
        )
        return self._sealer.seal_state(tuple(state))

    def _caught_up(self, has_read_all: bool) -> list[Outgoing]:
        """Publish the models and their roles once the learner has come to what the registry says.

        After a crash its models have the roles of before. Predictors would go back to a champion that was
        replaced. If the learner has read all that was there at the start, it does not come to the rest.
        """
        out = self._registrar.give_up() if has_read_all else []
        if self._registrar.is_behind:
            return out
        self._is_behind = False
        self._published = self._learner.steps - 1  # whatever was published before
        self._publish_at = 0.0
        return out + self._feed.retired()

    def _models(self) -> list[Outgoing]:
        """Return the records of the models, if they have learned since the last publication.

        A model that learns after a pause longer than the interval is published at once. If a large model
        cannot be stored, the next attempt follows after the interval; the predictors keep the one they have.
        """
        learner = self._learner
        if self._published == learner.steps or self._is_behind:
            return []
        models: list[tuple[Role, Model]] = [("champion", learner.champion)]
        models += [("challenger", rival.model) for rival in learner.roles.rivals]
        records: list[Outgoing] = []
        try:
            records = self._publisher.publication(
                models, learner.learned_until, learner.lineage, learner.roles.shares
            )
            self._published = learner.steps
            records += self._order()
        except StoreError as error:
            _log.warning("the models were not published, and will be later: %s", error)
        self._publish_at = time.monotonic() + self._publisher.pause
        return records

    def _order(self) -> list[Outgoing]:
        """Return the order of what the models have learned since the last publication."""
        order = self._learner.recent.take_order()
        return [] if order is None else [order.to_record(self._learned_topic, self._learner.learned_until)]


def _first_state(pipeline: Pipeline, plan: FeaturePlan, declared: DeclaredLineage) -> LearnState:
    learner = new_learner(pipeline, plan)
    learner.lineage[learner.champion.version] = declared()
    return LearnState(learner, 0, 0, 0, 0, tuple(NOTHING_TAKEN), 0, {})


def _declared_anew(learner: Learner, pipeline: Pipeline, blocks: BlockStore | None) -> Learner:
    """Return a stored learner with its blocks, and with what the pipeline declares now."""
    if blocks is not None:
        learner.load(blocks)
    learner.redeclare(pipeline.max_pending, pipeline.outliers, pipeline.retrain.contests())
    return learner


def _written(
    pipeline: Pipeline, io: FlowIO, sealer: Sealer, secrets: Sequence[bytes], stored: LearnState
) -> Written:
    with closing(io.open_broker()) as broker:
        newest = newest_sequence(broker, pipeline.topic("models"), sealer, stored.models_read)
        ledger = open_ledger(broker, pipeline, secrets, stored.entry)
        ends = broker.ends([pipeline.labels.topic, pipeline.topic("predictions")])
    return Written(max(stored.sequence, newest), ledger, ends)


def _intake(pipeline: Pipeline, sealer: Sealer, state: IntakeState) -> CandidateIntake:
    topics = (pipeline.labels.topic, pipeline.topic("predictions"))
    return CandidateIntake(pipeline.name, pipeline.task, topics, sealer, state)
