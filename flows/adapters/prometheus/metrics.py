"""Every Prometheus metric of Driftline with its meaning, and functions that record several at once.

A process runs one flow of one pipeline, so these are not labels of each metric but of
`driftline_process_info`, which Prometheus joins by the scrape's labels:
`driftline_predictions_total * on (job, instance) group_left (pipeline) driftline_process_info`.
"""

import time
from collections import Counter as CountOf
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    values,
)

from flows.adapters.prometheus.histogram import BulkHistogram, StopwatchHistogram
from flows.adapters.prometheus.model_info import ModelInfo
from flows.core.alerting.outbox import DeliveryResult
from flows.core.drift.signal import DriftSignal
from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Headers, Outgoing, Record, TopicPartition
from flows.core.stream.dead_letter import REASONS

_topic, _headers = itemgetter(0), itemgetter(5)  # of a record; the headers of an outgoing one

# Importing Feast sets PROMETHEUS_MULTIPROC_DIR, which child processes inherit. It would move every metric to
# a file, but each process here serves its own metrics from memory.
values.ValueClass = values.MutexValue
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

# fmt: off
_SECONDS = (
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
    1, 2.5, 5, 10, 30, 60,
)
_FRESHNESS_SECONDS = (  # fine around the promised second, for an accurate 99th percentile
    10e-3, 25e-3, 50e-3, 100e-3, 200e-3, 300e-3, 400e-3, 500e-3, 600e-3, 700e-3, 800e-3, 900e-3,
    1, 1.25, 1.5, 2, 3, 5, 10, 30, 60, 300, 3600,
)
# fmt: on

PROCESS_INFO = Gauge(
    "driftline_process_info",
    "Always 1; the labels say which flow of which pipeline this process runs.",
    ["pipeline", "flow"],
    registry=REGISTRY,
)
STREAM_INFO = Gauge(
    "driftline_stream_info",
    "Always 1; the labels say what an input stream of the pipeline has: events, source or labels.",
    ["stream", "kind"],
    registry=REGISTRY,
)
EVENTS = Counter(
    "driftline_events_total",
    "Records read from an input stream, including invalid ones.",
    ["stream"],
    registry=REGISTRY,
)
PREDICTIONS = Counter(
    "driftline_predictions_total",
    "Predictions that the broker acknowledged.",
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "driftline_dead_letters_total",
    "Records sent to the dead-letters topic, by reason.",
    ["reason"],
    registry=REGISTRY,
)
LATE_RECORDS = Counter(
    "driftline_late_records_total",
    "Source records later than the allowed lateness, which changed no feature.",
    registry=REGISTRY,
)
LOOKUPS_NULL = Counter(
    "driftline_lookups_null_total",
    "Events for which a batch view gave null: value missing, stale or in the future, or store unavailable.",
    ["view", "reason"],
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "driftline_consumer_lag_records",
    "Records in the log that this process has not read yet.",
    ["topic", "partition"],
    registry=REGISTRY,
)
HELD_BACK = Gauge(
    "driftline_held_back_records",
    "Offsets after the last stable offset, held back by an open transaction.",
    ["topic", "partition"],
    registry=REGISTRY,
)
END_TO_END = BulkHistogram(
    "driftline_end_to_end_seconds",
    "From the publisher's clock (the header `published-at`) until the prediction was acknowledged.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
STAGE = StopwatchHistogram(
    "driftline_stage_seconds",
    "Time that one batch spent in a stage of the flow.",
    "stage",
    buckets=_SECONDS,
    registry=REGISTRY,
)
FEATURE_FRESHNESS = Histogram(
    "driftline_feature_freshness_seconds",
    "From the newest event time in a record of feature rows until its rows could be read online.",
    buckets=_FRESHNESS_SECONDS,
    registry=REGISTRY,
)
FEATURE_ROWS = Counter(
    "driftline_feature_rows_written_total",
    "Feature rows written to a Feast store (online or offline).",
    ["store"],
    registry=REGISTRY,
)
OTHER_PLANS = Counter(
    "driftline_predictions_of_other_plans_total",
    "Predictions of another feature plan, left out of the offline store.",
    registry=REGISTRY,
)
ENTITIES = Gauge(
    "driftline_entities",
    "Entities whose windows this process keeps.",
    registry=REGISTRY,
)
PENDING_LABELS = Gauge(
    "driftline_pending_labels",
    "Predictions that wait for their label.",
    registry=REGISTRY,
)
PENDING_EVICTED = Counter(
    "driftline_pending_evicted_total",
    "Predictions dropped before their label wait ended, because more than `max_pending` were waiting.",
    registry=REGISTRY,
)
LABELS_JOINED = Counter(
    "driftline_labels_joined_total",
    "Labels joined to the prediction that was served, and learned.",
    registry=REGISTRY,
)
OUTLIERS = Counter(
    "driftline_outliers_total",
    "Values far outside the range of earlier ones, learned as the end of that range or not at all.",
    ["feature"],
    registry=REGISTRY,
)
METRIC = Gauge(
    "driftline_metric",
    "Prequential quality by metric name; the predictor is the model or a baseline.",
    ["name", "predictor"],
    registry=REGISTRY,
)
RECENT_METRIC = Gauge(
    "driftline_recent_metric",
    "Prequential quality over the last 1,000 labels, by metric name and predictor.",
    ["name", "predictor"],
    registry=REGISTRY,
)
FADING_LOSS = Gauge(
    "driftline_fading_loss",
    "Mean loss in which each label weighs 0.999 times as much as the next one.",
    ["loss", "predictor"],
    registry=REGISTRY,
)
SKILL = Gauge(
    "driftline_skill",
    "Share of a baseline's mean loss that the model saves; of the error rate kappa-M and kappa-temporal.",
    ["loss", "baseline"],
    registry=REGISTRY,
)
CALIBRATION_ERROR = Gauge(
    "driftline_calibration_error",
    "Expected calibration error of a binary model's scores; NaN without labels.",
    registry=REGISTRY,
)
SLICE_RATE = Gauge(
    "driftline_slice_rate",
    "Rates of the labels with one value of a declared column; NaN for too few labels.",
    ["column", "value", "rate"],
    registry=REGISTRY,
)
FAIRNESS = Gauge(
    "driftline_fairness",
    "Gap between the values of a declared column, by figure; NaN for too few labels.",
    ["column", "figure"],
    registry=REGISTRY,
)
COST_PER_LABEL = Gauge(
    "driftline_cost_per_label",
    "Mean cost of the decisions at this threshold: best, calibrated, half, never or always.",
    ["threshold"],
    registry=REGISTRY,
)
DRIFT_SIGNALS = Counter(
    "driftline_drift_signals_total",
    "Drift signals raised, without those that report the end of a change.",
    ["kind", "detector", "severity"],
    registry=REGISTRY,
)
DRIFT_OPEN = Gauge(
    "driftline_drift_open",
    "1 while a drift signal of this kind and severity is not resolved; else 0.",
    ["kind", "severity"],
    registry=REGISTRY,
)
RETRAININGS = Counter(
    "driftline_retrainings_total",
    "Candidates that were trained or dropped, by outcome.",
    ["outcome"],
    registry=REGISTRY,
)
RETRAIN_WAITING = Gauge(
    "driftline_retrain_triggers",
    "Triggers of a training that are not answered yet.",
    registry=REGISTRY,
)
TRAINING_ROWS = Gauge(
    "driftline_training_rows",
    "Rows that the candidate in training has learned; 0 without a training.",
    registry=REGISTRY,
)
MODEL_LABELS = Gauge(
    "driftline_model_labels",
    "Labels that the model in service has learned.",
    registry=REGISTRY,
)
SNAPSHOT_AGE = Gauge(
    "driftline_snapshot_age_seconds",
    "Time since this process last published or loaded a model snapshot.",
    registry=REGISTRY,
)
WEBHOOK_DELIVERIES = Counter(
    "driftline_webhook_deliveries_total",
    "Webhook deliveries that ended, by endpoint and outcome.",
    ["endpoint", "outcome"],
    registry=REGISTRY,
)
WEBHOOK_DISABLED = Gauge(
    "driftline_webhook_endpoint_disabled",
    "1 for an endpoint that answered 410 and is disabled until its URL or secret changes; else 0.",
    ["endpoint"],
    registry=REGISTRY,
)
WEBHOOK_FAILURES = Gauge(
    "driftline_webhook_failed_attempts",
    "Failed attempts to deliver the alert that an endpoint gets next; 0 after it was delivered or given up.",
    ["endpoint"],
    registry=REGISTRY,
)

for _reason in REASONS:  # a rate misses the first increment of a counter that appears with it
    DEAD_LETTERS.labels(_reason)

_MODEL_INFO = ModelInfo()
REGISTRY.register(_MODEL_INFO)


def process_started(pipeline: str, flow: str, streams: Iterable[tuple[str, str]]) -> None:
    """Set what this process runs, and what each input stream of the pipeline has (stream, kind)."""
    PROCESS_INFO.labels(pipeline, flow).set(1)
    for stream, kind in streams:
        STREAM_INFO.labels(stream, kind).set(1)


def endpoint_added(endpoint: str) -> None:
    """Show a webhook endpoint, with nothing delivered yet."""
    WEBHOOK_DISABLED.labels(endpoint).set(0)
    WEBHOOK_FAILURES.labels(endpoint).set(0)
    for outcome in get_args(DeliveryResult):
        WEBHOOK_DELIVERIES.labels(endpoint, outcome)


def drift_changed(signal: DriftSignal) -> None:
    """Count a drift signal that fires, and show whether one of its kind and severity is open."""
    is_firing = signal.status == "firing"
    DRIFT_OPEN.labels(signal.kind, signal.severity).set(is_firing)
    if is_firing:
        DRIFT_SIGNALS.labels(signal.kind, signal.detector, signal.severity).inc()


def models_in_service(roles: Mapping[str, str]) -> None:
    """Set the models in service, version to role; they replace those of the last call."""
    _MODEL_INFO.roles = dict(roles)


def assessed(assessment: Mapping[str, Any]) -> None:
    """Set the gauges of an evaluation's assessment."""
    for predictor, metrics in assessment["recent"]["metrics"].items():
        for name, value in metrics.items():
            RECENT_METRIC.labels(name, predictor).set(value)
    _assessed_losses(assessment["losses"])
    if assessment["calibration"] is not None:
        CALIBRATION_ERROR.set(assessment["calibration"]["expected_error"])
    _assessed_slices(assessment["slices"])
    for threshold, cost in (assessment["costs"] or {}).items():
        value = cost["cost"] if isinstance(cost, Mapping) else cost
        COST_PER_LABEL.labels(threshold).set(value)


def _assessed_losses(losses: Mapping[str, Any]) -> None:
    for loss, of in losses.items():
        for predictor, value in of["fading"].items():
            FADING_LOSS.labels(loss, predictor).set(value)
        for baseline, value in of["skill"].items():
            SKILL.labels(loss, baseline).set(value)


def _assessed_slices(slices: Mapping[str, Any]) -> None:
    for column, table in slices.items():
        for group in table["groups"]:
            for rate in ("positive", "true_positive", "false_positive", "error"):
                SLICE_RATE.labels(column, group["value"], rate).set(group[rate])
        for figure, value in table["fairness"].items():
            FAIRNESS.labels(column, figure).set(value)


def snapshot_taken(clock: Callable[[], float] = time.monotonic) -> None:
    """Reset the age of the snapshot to 0; `clock` returns seconds."""
    start = clock()
    SNAPSHOT_AGE.set_function(lambda: clock() - start)


def records_read(records: Sequence[Record]) -> None:
    """Count a batch of records read by a source."""
    topics = set(map(_topic, records))
    if len(topics) == 1:
        _events_of(topics.pop()).inc(len(records))
        return
    for topic, number in CountOf(map(_topic, records)).items():
        _events_of(topic).inc(number)


@cache
def _events_of(topic: str) -> Counter:
    return EVENTS.labels(topic)


def lag(partition: TopicPartition, records: int) -> None:
    """Set how many records of a partition this process has not read yet."""
    CONSUMER_LAG.labels(partition.topic, str(partition.partition)).set(records)


def held_back(partition: TopicPartition, records: int) -> None:
    """Set how many records of a partition an open transaction holds back."""
    HELD_BACK.labels(partition.topic, str(partition.partition)).set(records)


def records_written(records: Sequence[Outgoing]) -> None:
    """Count a batch that the broker acknowledged, and observe the latency of its predictions."""
    for topic, of_topic in groupby(records, _topic):
        if topic.endswith(".predictions"):
            headers = list(map(_headers, of_topic))
            PREDICTIONS.inc(len(headers))
            END_TO_END.observe_all(_since_published(headers, time.time_ns() // 1000))
        elif topic.endswith(".dead-letters"):
            for record in of_topic:
                DEAD_LETTERS.labels((dict(record.headers)["reason"] or b"").decode()).inc()


def _since_published(headers: Iterable[Headers], now: int) -> Iterator[float]:
    """Yield the seconds from publishing until `now` (us) of the records with a valid header."""
    for of_record in headers:
        for name, value in of_record:
            if name == PUBLISHED_AT:
                with suppress(ValueError):  # a publisher may write something else in it
                    yield (now - int(value or b"")) / 1e6
                break
