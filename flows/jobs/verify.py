"""`driftline verify features`: recomputes what was served from the log, and says where it differs.

The topics hold all that is needed: the records, the dead letters that tell which of them the engine refused,
and the predictions with their features, keys and how far each stream had been read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from flows.adapters.duckdb.recomputation import Recomputation, ServedFeatures, StreamRecord
from flows.core.features.plan import FeaturePlan, View
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.fields import Key, Text
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError, InvalidRecord
from flows.host.arrow import TYPES, Fit
from flows.pipeline import Pipeline, Stream

SHOWN = 1000  # explained or mismatched rows of a view that are looked into; all are counted
_REFUSED = ("not-json", "schema", "time", "late", "duplicate")  # by the intake, before any feature
_JOINED = 10_000  # questions that Feast joins at a time; it holds every row within the ttl of each
_BATCH = 20_000  # rows that are written to the tables at a time

Advance = Callable[[int], None]


class Explained(NamedTuple):
    """A record that came when the question had been answered, which is all that makes the difference."""

    view: str
    question: str
    record: str
    topic: str
    partition: int
    offset: int


class Mismatch(NamedTuple):
    """A question whose features are not what the log says, and not because of a later record."""

    view: str
    question: str
    key: str | int | None
    served: Sequence[Any]
    expected: Sequence[Any]


@dataclass
class ViewResult:
    """How the questions compare: with the recomputation, and with Feast's join (None: it was not asked).

    A transform is not recomputed; Feast runs its function over the joined features.
    """

    view: str
    features: int
    rows: int = 0
    explained: int = 0
    mismatches: int = 0
    feast_rows: int | None = None
    feast_mismatches: int = 0
    explanations: list[Explained] = field(default_factory=list)
    examples: list[Mismatch] = field(default_factory=list)

    @property
    def equal(self) -> int:
        """The questions whose features are those of the recomputation."""
        return self.rows - self.explained - self.mismatches


class Verification:
    """One run over the questions whose event time is from `since` up to but not including `until` (ms)."""

    def __init__(
        self, pipeline: Pipeline, plan: FeaturePlan, broker: Broker, folder: Path, span: tuple[int, int]
    ) -> None:
        self._pipeline = pipeline
        self._broker = broker
        self._since, self._until = span
        self._plan = plan
        read = {*plan.streams, pipeline.events.topic} if plan.transforms else set(plan.streams)
        self._streams = {s.topic: s for s in pipeline.feature_streams if s.topic in read}
        texts = {topic: _texts(self._streams[topic]) for topic in plan.streams}
        self._fits = Fit([TYPES[dtype] for dtype in plan.dtypes])
        self._requested = {field.name: field for t in plan.transforms for field in t.fields}
        self._recomputation = Recomputation(folder, plan, texts)
        self._bounds: dict[str, list[tuple[int, int]]] = {}
        self.left_out: Counter[str] = Counter()  # predictions by why they were not compared
        self.refused: Counter[str] = Counter()  # records of the streams by why the engine refused them

    @property
    def records(self) -> int:
        """How many records `load` reads."""
        topics = [self._predictions, self._pipeline.topic("dead-letters"), *self._streams]
        return sum(stop - start for topic in topics for _, start, stop in self._ranges(topic))

    @property
    def questions(self) -> int:
        """How many predictions of the plan are in the range."""
        return self._recomputation.questions

    @property
    def _predictions(self) -> str:
        return self._pipeline.topic("predictions")

    def load(self, advance: Advance) -> None:
        """Read the topics; raises `ConfigError` where no prediction of the plan is in the range."""
        refused = set(self._refused(advance))
        for stream in self._streams.values():
            for records in _batches(self._accepted(stream, refused, advance)):
                self._add(stream.topic, records)
        for questions in _batches(self._served(advance)):
            self._recomputation.add_questions(questions)
        if not self._recomputation.questions:
            raise ConfigError(
                f"topic {self._predictions!r} has no prediction of plan {self._plan.hash} in that range; "
                "run the flows first, or name another range"
            )
        self._recomputation.prepare()

    def _add(self, topic: str, records: Sequence[StreamRecord]) -> None:
        """Take in what the views aggregate, and of events what the transforms get; a topic may be both."""
        if topic in self._plan.streams:
            self._recomputation.add_records(topic, records)
        if self._plan.transforms and topic == self._pipeline.events.topic:
            self._recomputation.add_requests([(r.id, *self._request(r.values)) for r in records])

    def _request(self, payload: Mapping[str, Any]) -> Iterator[Any]:
        """The fields that the transforms get, times in milliseconds."""
        for name, wanted in self._requested.items():
            value = payload.get(name)
            yield milliseconds(value) if wanted.kind == "time" and value is not None else value

    def compare(self, view: View, advance: Advance) -> ViewResult:
        """Compare one view's features with the recomputation."""
        result = ViewResult(view.name, len(view.aggregates))
        for verdict in self._recomputation.compare(view):
            result.rows += verdict.questions
            result.explained += len(verdict.explained)
            result.mismatches += len(verdict.mismatches)
            for question in verdict.explained[: SHOWN - len(result.explanations)]:
                result.explanations += self._explanation(view, question)
            for question in verdict.mismatches[: SHOWN - len(result.examples)]:
                result.examples.append(self._example(view, question))
            advance(verdict.questions)
        return result

    def transforms(self) -> list[ViewResult]:
        """The results of the transforms of streams' features, which only `join` fills."""
        unknown = self.not_in_the_log
        return [ViewResult(t.name, len(t.outputs)) for t in self._plan.transforms if t.name not in unknown]

    @property
    def not_in_the_log(self) -> list[str]:
        """The batch views, whose values the online store had, and the transforms that read them."""
        lookups = {lookup.name for lookup in self._plan.lookups}
        readers = [t.name for t in self._plan.transforms if lookups.intersection(t.views)]
        return [*lookups, *readers]

    def join(
        self, point_in_time: Callable[[Any], Any], results: Sequence[ViewResult], advance: Advance
    ) -> None:
        """Compare what was served with Feast's point-in-time join at each question's moment.

        `results` are those of the views and of the transforms, which only Feast computes anew.
        """
        for first in range(0, self._recomputation.questions, _JOINED):
            joined = point_in_time(_frame(self._recomputation.asked(first, first + _JOINED)))
            for result in results:
                names, keys = self._compared(result.view)
                compared, different = self._recomputation.differing(joined, names, keys)
                result.feast_rows = (result.feast_rows or 0) + compared
                result.feast_mismatches += different
            advance(joined.num_rows)

    def _compared(self, view: str) -> tuple[list[str], list[str]]:
        """The names of the features of a view or transform, and the entities whose keys they depend on."""
        names = [name for name in self._plan.names if name.startswith(f"{view}__")]
        reads = next((t.views for t in self._plan.transforms if t.name == view), (view,))
        return names, [v.entity for v in self._plan.views if v.name in reads]

    def close(self) -> None:
        """Close the tables."""
        self._recomputation.close()

    def _explanation(self, view: View, question: int) -> Iterator[Explained]:
        served, _ = self._recomputation.difference(view, question)
        for record_id, offset, _ in self._recomputation.later_records(view, question):
            yield Explained(view.name, served.id, record_id, view.stream, served.partition, offset)

    def _example(self, view: View, question: int) -> Mismatch:
        served, expected = self._recomputation.difference(view, question)
        return Mismatch(view.name, served.id, served.keys[0], served.features, expected)

    def _refused(self, advance: Advance) -> Iterator[tuple[str, int, int]]:
        """Where the records stood that became dead letters at the intake."""
        for record in self._read(self._pipeline.topic("dead-letters"), advance):
            headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
            if headers.get("reason") in _REFUSED and headers.get("topic") in self._streams:
                self.refused[headers["reason"]] += headers["topic"] in self._plan.streams
                yield headers["topic"], int(headers["partition"]), int(headers["offset"])

    def _accepted(
        self, stream: Stream, refused: set[tuple[str, int, int]], advance: Advance
    ) -> Iterator[StreamRecord]:
        decoder = stream.decoder(self._plan.key_kinds)
        reaches = [v.longest + v.delay + v.slide for v in self._plan.views if v.stream == stream.topic]
        earliest = self._since - max(reaches, default=1)
        for record in self._read(stream.topic, advance):
            if (record.topic, record.partition, record.offset) in refused:
                continue
            try:
                record_id, time, payload = decoder.decode(record)
            except InvalidRecord:
                continue  # not yet read by the engine; as a dead letter it changes no feature
            if earliest < time < self._until:
                yield StreamRecord(record.partition, record.offset, record_id, time, payload)

    def _served(self, advance: Advance) -> Iterator[ServedFeatures]:
        inputs = len(self._pipeline.inputs)
        for record in self._read(self._predictions, advance):
            try:
                prediction, plan, asked = predictions.decode_served(record)
            except InvalidRecord:
                self.left_out["no prediction"] += 1
                continue
            if plan != self._plan.hash:
                self.left_out["of another plan"] += 1
            elif not self._is_of_plan(prediction.features[inputs:], asked):
                self.left_out["that the engine did not write"] += 1
            elif self._since <= prediction.time < self._until:
                yield ServedFeatures(
                    prediction.id,
                    prediction.time,
                    asked.moment,
                    record.partition,
                    asked.keys,
                    asked.read,
                    prediction.features[inputs:],
                )

    def _is_of_plan(self, features: Sequence[Any], asked: predictions.Asked) -> bool:
        numbers = len(self._plan.entities), len(self._plan.streams)
        return self._fits(features) and (len(asked.keys), len(asked.read)) == numbers

    def _read(self, topic: str, advance: Advance) -> Iterator[Record]:
        for partition, start, stop in self._ranges(topic):
            for batch in read_range(self._broker, partition, start, stop):
                yield from batch
                advance(len(batch))

    def _ranges(self, topic: str) -> list[tuple[TopicPartition, int, int]]:
        """The partitions of a topic, and what stands on them when they are first asked for."""
        if topic not in self._bounds:
            self._bounds[topic] = self._broker.offsets(topic)
        return [(TopicPartition(topic, number), *ends) for number, ends in enumerate(self._bounds[topic])]


def _frame(table: Any) -> Any:
    """The table for pandas, in which integers stay integers beside nulls."""
    import pandas as pd  # only where Feast is asked
    import pyarrow as pa

    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _texts(stream: Stream) -> set[str]:
    return {name for name, declared in stream.fields.items() if isinstance(declared, Text | Key)}
