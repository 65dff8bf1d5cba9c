"""Reads what a verification needs from the topics: accepted records and served features."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flows.adapters.duckdb.recomputation import ServedFeatures, StreamRecord
from flows.core.drift.levels import Position
from flows.core.features.plan import FeaturePlan
from flows.core.serving import prediction_message
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.errors import InvalidRecord
from flows.host.arrow import TYPES, Fit
from flows.pipeline import Pipeline, Stream

_REFUSED_AT_INTAKE = ("not-json", "schema", "time", "late", "duplicate")  # reasons, before any feature

Advance = Callable[[int], None]


class VerificationLog:
    """Reads the topics of a pipeline for predictions with an event time in `span`, [since, until) in ms.

    `streams` are the streams that the plan reads, by topic. The end of a topic is fixed when its size is
    first needed. `left_out` counts the predictions not compared, and `refused` the records that the engine
    refused, by reason.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: FeaturePlan,
        broker: Broker,
        span: tuple[int, int],
        streams: Mapping[str, Stream],
    ) -> None:
        self.predictions = pipeline.topic("predictions")
        self.left_out: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._dead_letters = pipeline.topic("dead-letters")
        self._inputs = len(pipeline.inputs)
        self._plan = plan
        self._broker = broker
        self._since, self._until = span
        self._streams = streams
        self._fits = Fit([TYPES[dtype] for dtype in plan.dtypes])
        self._bounds: dict[str, list[tuple[int, int]]] = {}

    @property
    def records(self) -> int:
        """The number of records on the topics."""
        topics = [self.predictions, self._dead_letters, *self._streams]
        return sum(stop - start for topic in topics for _, start, stop in self._ranges(topic))

    def read_refused(self, advance: Advance) -> set[Position]:
        """Return the places of the records that became dead letters at the intake."""
        places = set()
        for record in self._read(self._dead_letters, advance):
            headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
            reason, topic = headers.get("reason", ""), headers.get("topic", "")
            if reason in _REFUSED_AT_INTAKE and topic in self._streams:
                if topic in self._plan.streams:
                    self.refused[reason] += 1
                places.add(Position(topic, int(headers["partition"]), int(headers["offset"])))
        return places

    def accepted(self, stream: Stream, refused: set[Position], advance: Advance) -> Iterator[StreamRecord]:
        """Yield the stream's records that can change a feature of the span."""
        decoder = stream.decoder(self._plan.key_kinds)
        reaches = [v.longest + v.delay + v.slide for v in self._plan.views if v.stream == stream.topic]
        earliest = self._since - max(reaches, default=1)
        for record in self._read(stream.topic, advance):
            if (record.topic, record.partition, record.offset) in refused:
                continue
            try:
                record_id, time, payload = decoder.decode(record)
            except InvalidRecord:
                continue  # not read by the engine yet; it will become a dead letter
            if earliest < time < self._until:
                yield StreamRecord(record.partition, record.offset, record_id, time, payload)

    def served(self, advance: Advance) -> Iterator[ServedFeatures]:
        """Yield the served features of the plan and span; count the other predictions."""
        for record in self._read(self.predictions, advance):
            try:
                prediction, plan, asked, _ = prediction_message.decode_served(record)
            except InvalidRecord:
                self.left_out["no prediction"] += 1
                continue
            features = prediction.features[self._inputs :]
            if plan != self._plan.hash:
                self.left_out["of another plan"] += 1
            elif not self._is_of_plan(features, asked):
                self.left_out["that the engine did not write"] += 1
            elif self._since <= prediction.time < self._until:
                yield ServedFeatures(
                    prediction.id,
                    prediction.time,
                    asked.moment,
                    record.partition,
                    asked.keys,
                    asked.read,
                    features,
                )

    def _is_of_plan(self, features: Sequence[Any], asked: prediction_message.Asked) -> bool:
        expected = len(self._plan.entities), len(self._plan.streams)
        return self._fits(features) and (len(asked.keys), len(asked.read)) == expected

    def _read(self, topic: str, advance: Advance) -> Iterator[Record]:
        for partition, start, stop in self._ranges(topic):
            for batch in read_range(self._broker, partition, start, stop):
                yield from batch
                advance(len(batch))

    def _ranges(self, topic: str) -> list[tuple[TopicPartition, int, int]]:
        """Return the partitions of a topic with their first and end offset, as of the first call."""
        if topic not in self._bounds:
            self._bounds[topic] = self._broker.offsets(topic)
        return [(TopicPartition(topic, number), *ends) for number, ends in enumerate(self._bounds[topic])]
