"""The retrain flow: drift signals in, candidates out, of which the learner makes challengers.

    drift ──> retrain ──> publish
              (fresh model on the logged features and labels since the window that ADWIN kept)

Run it with `driftline run retrain`, or by itself with `python -m bytewax.run flows.retrain`.
"""

import logging
from collections.abc import Iterator

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.prometheus import metrics as telemetry
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import valid_labels
from flows.core.learning.training import train
from flows.core.models.model import Model, ModelMessage, Prediction
from flows.core.models.tasks import Truth
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Broker, Outgoing, Record, read_since
from flows.core.stream.dead_letter import dead_letter
from flows.core.stream.times import in_milliseconds, iso
from flows.errors import InvalidRecord
from flows.runtime.engine import Engine, drain_on_signals, engine
from flows.runtime.user_faults import FaultLog

OUTPUTS = ("models", "dead-letters")

_log = logging.getLogger("driftline.retrain")


def flow() -> Dataflow:
    """The dataflow of the project in the working directory, for `python -m bytewax.run flows.retrain`."""
    running = engine()
    drain_on_signals(running)
    return build(running)


def build(running: Engine) -> Dataflow:
    """The dataflow of one pipeline."""
    dataflow = Dataflow("retrain")
    records = op.input(
        "signals", dataflow, running.source("retrain", [running.pipeline.topic("drift")], idle=0.05)
    )
    challengers = op.map_value("retrain", records, _Retrain(running))
    op.output("publish", challengers, running.sink(OUTPUTS))
    return dataflow


def _asks_for_a_challenger(signal: DriftSignal) -> bool:
    """Only an alarm that the error rose does.

    A detector's warning may pass, features may move without the error, and from broken data there is nothing
    good to learn.
    """
    return (signal.kind, signal.level, signal.status) == ("concept", "alarm", "firing")


class _Retrain:
    """Answers each alarm of concept drift with a challenger, unless too few labels came since the change."""

    def __init__(self, running: Engine) -> None:
        self._running = running
        self._pipeline = running.pipeline
        self._plan = running.plan()
        self._names = running.names(self._plan)
        self._sealer = running.sealer()
        self._labels = running.pipeline.labels.decoder()
        self._failed = FaultLog(_log)

    def __call__(self, records: list[Record]) -> list[Outgoing]:
        return [out for record in records for out in self._answer(record)]

    def _answer(self, record: Record) -> Iterator[Outgoing]:
        try:
            signal = DriftSignal.from_json(record.value or b"")
        except InvalidRecord as fault:
            yield dead_letter(self._pipeline.topic("dead-letters"), record, fault.reason, str(fault))
            return
        if not _asks_for_a_challenger(signal):
            return
        broker = self._running.open_broker()
        try:
            model = self._train(broker, signal)
        finally:
            broker.close()
        enough = model.learned >= self._pipeline.retrain.minimum_labels
        telemetry.RETRAININGS.labels("challenger" if enough else "too-few-labels").inc()
        if enough:
            yield self._candidate(model, signal)
        else:
            _log.warning(
                "signal %s: only %d labels since the change, no challenger", signal.id, model.learned
            )

    def _train(self, broker: Broker, signal: DriftSignal) -> Model:
        model = self._pipeline.new_model(f"v{signal.sequence + 1}")
        truths = self._truths(broker, signal.since)
        served = self._served(broker, signal.since)
        return train(model, self._names, served, truths, self._failed, self._pipeline.outliers)

    def _truths(self, broker: Broker, since: int) -> dict[str, Truth]:
        """The truths by event; of several labels of one event the last one holds."""
        records = read_since(broker, self._pipeline.labels.topic, since)
        labels = valid_labels(records, self._labels, self._pipeline.target)
        return {label.id: label.truth for label in labels}

    def _served(self, broker: Broker, since: int) -> Iterator[Prediction]:
        earliest = since - in_milliseconds(self._pipeline.label_wait)
        for record in read_since(broker, self._pipeline.topic("predictions"), earliest):
            try:
                yield predictions.decode(record)
            except InvalidRecord:
                continue  # the learner has made it a dead letter

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
