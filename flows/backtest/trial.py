"""The trial of a declaration: a backtest over the log, measured against the scores that were served."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from math import isnan, nan
from statistics import median
from typing import Any

from flows.backtest.backtest import Progress
from flows.backtest.prepare import new_backtest
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.gates import Figure
from flows.core.evaluation.label_join import Joined
from flows.core.evaluation.pending_block import Pending
from flows.core.evaluation.slices import Slices
from flows.core.models.baselines import Score
from flows.core.models.model import Model
from flows.core.models.tasks import Features, task_of
from flows.core.serving.prediction_message import decode_batch
from flows.core.stream.broker import Broker, Outgoing, TopicPartition, read_range
from flows.core.user_code import describe
from flows.errors import ConfigError, InvalidRecord
from flows.jobs.history import TopicHistory
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine

TIMED = 1000  # logged events that the model scores again, to measure its latency
_PASSES = 5


class LoggedRecords:
    """The labels, sources and events of a pipeline in the log, in the order of their time.

    At equal times labels come first: an event is scored after the labels known at its time.
    """

    def __init__(self, broker: Broker, pipeline: Pipeline) -> None:
        streams = (pipeline.labels, *pipeline.feature_streams)
        self._history = TopicHistory(broker, streams, time.time_ns() // 1_000_000)

    def __len__(self) -> int:
        return len(self._history)

    def __iter__(self) -> Iterator[Outgoing]:
        for topic, partition, _, timestamp, key, value, headers in self._history:
            yield Outgoing(topic, value, key, partition, timestamp, headers)


class PairedEvaluation(Evaluation):
    """Evaluates the predictions of a backtest, and those that were served, over the labels that both have.

    `served` holds the served scores by event id; `rows` the features of the last events.
    """

    def __init__(self, pipeline: Pipeline, served: Mapping[str, Score]) -> None:
        super().__init__(*pipeline.judged_by())
        self.tried = pipeline.evaluation()
        self.served = pipeline.evaluation()
        self.rows: deque[Any] = deque(maxlen=TIMED)
        self._scores = served

    def update(self, joined: Joined) -> None:
        """Evaluate a labelled event."""
        super().update(joined)
        prediction = joined.pending.prediction
        self.rows.append(prediction.features)
        score = self._scores.get(prediction.id)
        if score is not None:
            self.tried.update(joined)
            pending = Pending(prediction._replace(score=score), *joined.pending[1:])
            self.served.update(Joined(pending, joined.label))


class Trial:
    """Runs the present declaration of a pipeline over its log."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self.records = LoggedRecords(broker, engine.pipeline)
        self._engine = engine
        self._pipeline = engine.pipeline
        self._test = new_backtest(engine, self.records)
        self._paired = PairedEvaluation(self._pipeline, served_scores(self._pipeline, broker))
        self._test.learner.evaluation = self._paired

    def run(self) -> Iterator[Progress]:
        """Run the backtest; yield the results of each batch."""
        return self._test.run(self.records)

    @property
    def labels(self) -> int:
        """The number of labels of events that the trial and the engine both scored."""
        return self._paired.tried.labels

    def figures(self) -> dict[str, Figure]:
        """Return the figures that gates limit; raises `ConfigError` if no label is common."""
        tried, served = self._paired.tried, self._paired.served
        if not tried.labels:
            raise ConfigError(
                "the log must have labels of events that were served and that the declared model scores, got "
                f"none among {len(self.records):,} records; run the flows, or see what the model does with "
                "`driftline backtest`"
            )
        model = self._test.learner.champion
        figures = {"labels": Figure(tried.labels), **_metrics(tried, served)}
        if tried.slices is not None and served.slices is not None:
            figures |= _slices(tried.slices, served.slices)
        if tried.calibration is not None and served.calibration is not None:
            value = tried.calibration.expected_error()
            figures["calibration"] = Figure(value, value - served.calibration.expected_error())
        figures["size"] = Figure(len(self._engine.sealer().pickle(model)))
        names = self._pipeline.feature_names(self._engine.state.plan())
        rows = [dict(zip(names, row, strict=True)) for row in self._paired.rows]
        return figures | {"latency": Figure(_latency(model, rows))}


def served_scores(pipeline: Pipeline, broker: Broker) -> dict[str, Score]:
    """Return the score that was served for each event in the log, by its id."""
    topic, serves = pipeline.topic("predictions"), task_of(pipeline.task).serves
    found: dict[str, Score] = {}
    for number, (start, end) in enumerate(broker.offsets(topic)):
        for records in read_range(broker, TopicPartition(topic, number), start, end):
            for prediction in decode_batch(records):
                if not isinstance(prediction, InvalidRecord) and serves(prediction.score):
                    found[prediction.id] = prediction.score
    return found


def _metrics(tried: Evaluation, served: Evaluation) -> dict[str, Figure]:
    before = served.values()["model"]
    return {
        f"metrics.{name}": Figure(value, value - before[name])
        for name, value in tried.values()["model"].items()
    }


def _slices(tried: Slices, served: Slices) -> dict[str, Figure]:
    """Return the error rate of the worst group of each column, and the largest change of a group's rate."""
    figures = {}
    for column in tried.columns:
        before = {group.value: group.error for group in served.rates(column)}
        groups = tried.rates(column)
        changes = [group.error - before.get(group.value, nan) for group in groups]
        figures[f"slices.{column}"] = Figure(_largest([group.error for group in groups]), _largest(changes))
    return figures


def _largest(rates: Sequence[float]) -> float:
    """Return the largest known rate, NaN if none is known: a group with few labels has none."""
    return max((rate for rate in rates if not isnan(rate)), default=nan)


def _latency(model: Model, rows: Sequence[Features]) -> float:
    """Return the time (us) that the model takes to score an event, the median of several passes."""
    passes = []
    for _ in range(_PASSES):
        began = time.perf_counter_ns()
        try:
            for row in rows:
                model.score(row)
        except Exception as error:  # an estimator is user code
            raise ConfigError(
                f"the model must score an event that it has scored before: {describe(error)}"
            ) from None
        passes.append((time.perf_counter_ns() - began) / len(rows) / 1000)
    return median(passes)
