"""The step of the retrain flow."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

from flows.adapters.prometheus import metrics
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import valid_labels
from flows.core.features.plan import FeaturePlan
from flows.core.learning.training import train
from flows.core.models.model import Model, ModelMessage, Prediction
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import Truth
from flows.core.serving import prediction_message
from flows.core.stream.broker import Broker, Outgoing, Record, read_since
from flows.core.stream.dead_letter import dead_letter
from flows.core.stream.times import in_milliseconds, iso
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline
from flows.runtime.user_faults import FaultLog

_log = logging.getLogger("driftline.retrain")


class RetrainStep:
    """Answers each alarm of concept drift with a candidate, unless there are too few labels since the change.

    Other signals get no answer: a warning may pass, features may move without the error, and broken data
    must not be learned.
    """

    def __init__(
        self, pipeline: Pipeline, plan: FeaturePlan, sealer: Sealer, open_broker: Callable[[], Broker]
    ) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._names = pipeline.feature_names(plan)
        self._sealer = sealer
        self._open_broker = open_broker
        self._labels = pipeline.labels.decoder()
        self._failed = FaultLog(_log)

    def __call__(self, records: list[Record]) -> list[Outgoing]:
        """Return the candidates and dead letters for the records of the drift topic."""
        return [out for record in records for out in self._answer(record)]

    def _answer(self, record: Record) -> Iterator[Outgoing]:
        try:
            signal = DriftSignal.from_json(record.value or b"")
        except InvalidRecord as fault:
            yield dead_letter(self._pipeline.topic("dead-letters"), record, fault.reason, str(fault))
            return
        if (signal.kind, signal.level, signal.status) != ("concept", "alarm", "firing"):
            return
        with closing(self._open_broker()) as broker:
            model = self._train(broker, signal)
        enough = model.learned >= self._pipeline.retrain.minimum_labels
        metrics.RETRAININGS.labels("challenger" if enough else "too-few-labels").inc()
        if enough:
            yield self._candidate(model, signal)
        else:
            _log.warning(
                "signal %s: only %d labels since the change, no challenger", signal.id, model.learned
            )

    def _train(self, broker: Broker, signal: DriftSignal) -> Model:
        """Return a new model that learned the labels since the change."""
        model = self._pipeline.new_model(f"v{signal.sequence + 1}")
        truths = self._truths(broker, signal.since)
        served = self._served(broker, signal.since)
        return train(model, self._names, served, truths, self._failed, self._pipeline.outliers)

    def _truths(self, broker: Broker, since: int) -> dict[str, Truth]:
        """Return the truth by event; the last label of an event wins."""
        records = read_since(broker, self._pipeline.labels.topic, since)
        labels = valid_labels(records, self._labels, self._pipeline.target)
        return {label.id: label.truth for label in labels}

    def _served(self, broker: Broker, since: int) -> Iterator[Prediction]:
        """Yield the predictions that may have a label since then; the learner reports invalid ones."""
        earliest = since - in_milliseconds(self._pipeline.label_wait)
        for record in read_since(broker, self._pipeline.topic("predictions"), earliest):
            try:
                yield prediction_message.decode(record)
            except InvalidRecord:
                continue

    def _candidate(self, model: Model, signal: DriftSignal) -> Outgoing:
        lineage = {
            "parent": signal.model_version,
            "drift": signal.id,
            "plan": self._plan.hash,
            "trained_on": model.learned,
            "since": iso(signal.since),
        }
        message = ModelMessage(self._pipeline.name, "candidate", signal.time, model, lineage, signal.sequence)
        return self._sealer.record(self._pipeline.topic("models"), message)
