"""Scores a part of a batch, with the code of the predict flow."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa

from flows.core.features.batch import Question
from flows.core.features.engine import Computed, FeatureEngine, FeatureVector
from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.models.baselines import Score
from flows.core.models.frozen import FrozenModel
from flows.core.models.model import Model
from flows.core.serving.scoring import InputReader
from flows.core.stream.broker import Record
from flows.core.stream.dead_tally import dead_of
from flows.errors import InvalidRecord
from flows.host.functions import load_transformer
from flows.jobs.batch.folder import ScoredPiece
from flows.jobs.batch.history import AskedEvent, BatchHistory, Part, size_of
from flows.jobs.training_schema import array_of, schema_with, score_cell, score_type
from flows.pipeline import Pipeline

PIECE = 10_000  # events; a batch that is stopped repeats at most one piece of each part
_BATCH = 1000  # records computed at once
_JOINED = 10_000  # of a plan with batch views, since each join of Feast reads its tables

_Answer = tuple[FeatureVector, Sequence[Any], Score]  # an event, what the model read, and its score


class PastLookups(Protocol):
    """Returns the features of batch views by the id and time (ms) of each question, as of that time."""

    def __call__(
        self, plan: FeaturePlan, questions: Sequence[Question]
    ) -> Mapping[tuple[str, int], list[Value]]: ...


class BatchScorer:
    """Scores events with one model."""

    def __init__(
        self, pipeline: Pipeline, plan: FeaturePlan, model: Model, history: BatchHistory, lookups: PastLookups
    ) -> None:
        self.schema = batch_schema(pipeline, plan)
        self._pipeline = pipeline
        self._plan = plan
        self._history = history
        self._lookups = lookups
        self._model = model
        self._frozen = FrozenModel(model, pipeline.feature_names(plan))
        self._read = InputReader(pipeline.inputs)
        self._decoder = pipeline.events.decoder(plan.key_kinds)
        self._inputs = [at for at, name in enumerate(pipeline.inputs) if name not in plan.entities]

    def pieces(self, part: Part) -> Iterator[ScoredPiece]:
        """Yield the scores of a part."""
        done, left = {log: start for log, (start, _) in part.items()}, size_of(part)
        answers: list[_Answer] = []
        dead: Counter[str] = Counter()
        since = 0  # events in the next piece
        for asked, computed in self._computed(part):
            answers += self._scored(computed.answers, dead)
            dead.update(_refused(asked, computed))
            for event in asked:
                done[self._history.log_of(event)] += 1
            since += len(asked)
            left -= len(asked)
            if since >= PIECE or (since and not left):
                yield ScoredPiece(self._table(answers), dict(done), dict(dead))
                answers, dead, since = [], Counter(), 0

    def _computed(self, part: Part) -> Iterator[tuple[list[AskedEvent], Computed]]:
        """Yield the events to score of each batch, and what the feature engine returns for it."""
        looked_up: dict[tuple[str, int], list[Value]] = {}
        plan, pipeline = self._plan, self._pipeline
        engine = FeatureEngine(
            [pipeline.intake(plan) for _ in range(pipeline.partitions)],
            plan,
            load_transformer(plan),
            pipeline.topic("dead-letters"),
            looked_up,
        )
        left = size_of(part)
        records = self._history.records(part) if left else iter(())
        while left and (batch := list(islice(records, _JOINED if plan.lookups else _BATCH))):
            asked = [record for record in batch if isinstance(record, AskedEvent)]
            if plan.lookups and asked:
                looked_up.clear()
                looked_up.update(self._lookups(plan, list(self._questions(asked))))
            yield asked, engine.take(batch)
            left -= len(asked)

    def _questions(self, events: Sequence[Record]) -> Iterator[Question]:
        for event in events:
            with suppress(InvalidRecord):  # the intake refuses it
                yield Question(*self._decoder.decode(event))

    def _scored(self, found: Sequence[FeatureVector], dead: Counter[str]) -> Iterator[_Answer]:
        """Yield the answers to the events to score; count those that the model cannot score."""
        asked = [each for each in found if isinstance(each.record, AskedEvent)]
        given = self._read.rows([each.question.payload for each in asked])
        rows = [(*inputs, *each.vector) for inputs, each in zip(given, asked, strict=True)]
        for each, row, score in zip(asked, rows, self._frozen.score(rows), strict=True):
            if isinstance(score, Exception):
                dead["model"] += 1
            else:
                yield each, row, score

    def _table(self, answers: Sequence[_Answer]) -> pa.Table:
        questions, rows = [each.question for each, _, _ in answers], [row for _, row, _ in answers]
        columns: list[list[Any]] = [[each.id for each in questions], [each.moment for each in questions]]
        columns += [[each.payload.get(entity) for each in questions] for entity in self._plan.entities]
        features = [
            *self._inputs,
            *range(len(self._pipeline.inputs), len(self._pipeline.inputs) + len(self._plan.names)),
        ]
        columns += [[row[at] for row in rows] for at in features]
        columns += [[score_cell(score) for _, _, score in answers]]
        columns += [[self._model.version] * len(rows), [self._model.learned] * len(rows)]
        pairs = zip(columns, self.schema.types, strict=True)
        return pa.table([array_of(column, dtype) for column, dtype in pairs], schema=self.schema)


def batch_schema(pipeline: Pipeline, plan: FeaturePlan) -> pa.Schema:
    """Return the columns of a file of scores; raises `ConfigError` as `schema_with` does."""
    results = [("score", score_type(pipeline)), ("model", pa.string()), ("learned", pa.int64())]
    return schema_with(pipeline, plan, results)


def _refused(asked: Sequence[AskedEvent], computed: Computed) -> Iterator[str]:
    """Yield the reason of each event to score that has no features."""
    answered = {id(each.record) for each in computed.answers}
    reasons = {(dead.topic, dead.partition, dead.offset): dead.reason for dead in map(dead_of, computed.dead)}
    for event in asked:
        if id(event) not in answered:
            yield reasons[event.topic, event.partition, event.offset]
