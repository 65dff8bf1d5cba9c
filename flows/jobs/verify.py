"""Recomputes served features from the log, and compares them.

The topics have all that is needed: the records, the dead letters that say which of them the engine refused,
and the predictions with their features, keys and the offsets read by then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from flows.adapters.duckdb.recomputation import Recomputation, StreamRecord
from flows.core.features.plan import FeaturePlan, View
from flows.core.stream.broker import Broker
from flows.core.stream.fields import Key, Text
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError
from flows.jobs.verify_log import Advance, VerificationLog
from flows.jobs.verify_results import Explained, Mismatch, ViewResult
from flows.pipeline import Pipeline, Stream

SHOWN = 1000  # explained or mismatched rows kept per view; all are counted
_JOINED = 10_000  # questions that Feast joins at once; it loads all rows within the ttl of each
_BATCH = 20_000  # rows written to the tables at once


class Verification:
    """Compares the features served to questions with an event time in `span`, [since, until) in ms.

    Call `load` first; the tables are in `folder`.
    """

    def __init__(
        self, pipeline: Pipeline, plan: FeaturePlan, broker: Broker, folder: Path, span: tuple[int, int]
    ) -> None:
        self._plan = plan
        self._events = pipeline.events.topic
        read = {*plan.streams, self._events} if plan.transforms else set(plan.streams)
        self._streams = {s.topic: s for s in pipeline.feature_streams if s.topic in read}
        self._requested = {field.name: field for t in plan.transforms for field in t.fields}
        texts = {topic: _texts(self._streams[topic]) for topic in plan.streams}
        self._recomputation = Recomputation(folder, plan, texts)
        self._log = VerificationLog(pipeline, plan, broker, span, self._streams)
        self.left_out = self._log.left_out  # predictions not compared, by reason
        self.refused = self._log.refused  # records that the engine refused, by reason

    @property
    def records(self) -> int:
        """The number of records that `load` reads."""
        return self._log.records

    @property
    def questions(self) -> int:
        """The number of predictions of the plan in the span."""
        return self._recomputation.questions

    @property
    def not_in_the_log(self) -> list[str]:
        """The batch views, whose values came from the online store, and the transforms that read them."""
        lookups = {lookup.name for lookup in self._plan.lookups}
        readers = [t.name for t in self._plan.transforms if lookups.intersection(t.views)]
        return [*lookups, *readers]

    def load(self, advance: Advance) -> None:
        """Read the topics; raise `ConfigError` if the span has no prediction of the plan."""
        refused = self._log.read_refused(advance)
        for stream in self._streams.values():
            for records in _batches(self._log.accepted(stream, refused, advance)):
                self._add(stream.topic, records)
        for questions in _batches(self._log.served(advance)):
            self._recomputation.add_questions(questions)
        if not self._recomputation.questions:
            raise ConfigError(
                f"topic {self._log.predictions!r} has no prediction of plan {self._plan.hash} in that range; "
                "run the flows first, or give another range"
            )
        self._recomputation.prepare()

    def compare(self, view: View, advance: Advance) -> ViewResult:
        """Compare one view's features with the recomputation."""
        result = ViewResult(view.name, len(view.aggregates))
        for verdict in self._recomputation.compare(view):
            result.rows += verdict.questions
            result.explained += len(verdict.explained)
            result.mismatches += len(verdict.mismatches)
            for question in verdict.explained[: SHOWN - len(result.explanations)]:
                result.explanations += self._explanations(view, question)
            for question in verdict.mismatches[: SHOWN - len(result.examples)]:
                result.examples.append(self._mismatch(view, question))
            advance(verdict.questions)
        return result

    def transforms(self) -> list[ViewResult]:
        """Return empty results of the transforms of stream features; `join` fills them."""
        unknown = self.not_in_the_log
        return [ViewResult(t.name, len(t.outputs)) for t in self._plan.transforms if t.name not in unknown]

    def join(
        self, point_in_time: Callable[[Any], Any], results: Sequence[ViewResult], advance: Advance
    ) -> None:
        """Compare served features with Feast's point-in-time join; add the counts to `results`."""
        for first in range(0, self._recomputation.questions, _JOINED):
            joined = point_in_time(_frame(self._recomputation.asked(first, first + _JOINED)))
            for result in results:
                names, entities = self._compared(result.view)
                compared, different = self._recomputation.differing(joined, names, entities)
                result.feast_rows = (result.feast_rows or 0) + compared
                result.feast_mismatches += different
            advance(joined.num_rows)

    def close(self) -> None:
        """Close the tables."""
        self._recomputation.close()

    def _add(self, topic: str, records: Sequence[StreamRecord]) -> None:
        """Add the records that views aggregate, and the fields of events that transforms read."""
        if topic in self._plan.streams:
            self._recomputation.add_records(topic, records)
        if self._plan.transforms and topic == self._events:
            self._recomputation.add_requests([(r.id, *self._request(r.values)) for r in records])

    def _request(self, payload: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the fields that transforms read, times in ms."""
        for name, wanted in self._requested.items():
            value = payload.get(name)
            yield milliseconds(value) if wanted.kind == "time" and value is not None else value

    def _compared(self, view: str) -> tuple[list[str], list[str]]:
        """Return the feature names of a view or transform, and the entities that they depend on."""
        names = [name for name in self._plan.names if name.startswith(f"{view}__")]
        reads = next((t.views for t in self._plan.transforms if t.name == view), (view,))
        return names, [v.entity for v in self._plan.views if v.name in reads]

    def _explanations(self, view: View, question: int) -> Iterator[Explained]:
        served, _ = self._recomputation.difference(view, question)
        for record_id, offset, _ in self._recomputation.later_records(view, question):
            yield Explained(view.name, served.id, record_id, view.stream, served.partition, offset)

    def _mismatch(self, view: View, question: int) -> Mismatch:
        served, expected = self._recomputation.difference(view, question)
        return Mismatch(view.name, served.id, served.keys[0], served.features, expected)


def _frame(table: Any) -> Any:
    """Return the table as a data frame in which integers stay integers beside nulls."""
    import pandas as pd  # only needed for Feast
    import pyarrow as pa

    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _texts(stream: Stream) -> set[str]:
    return {name for name, declared in stream.fields.items() if isinstance(declared, Text | Key)}
