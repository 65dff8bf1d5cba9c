"""The predict flow: events and feature sources in; predictions, feature rows and dead letters out.

    records ──> intake ──> split by entity ──> windows ──> assemble ──> predict ──> publish
              (decode,      (one key for       (Feast's     (vectors)   (champion
               validate)     each entity)    aggregates)               and shadows)

A batch of records travels as one item up to the split, where each entity it touches gets its part, in the
order of the batch; the parts meet again in `assemble`. Run it with `driftline run predict`, or by itself with
`python -m bytewax.run flows.predict`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow

from flows.adapters import telemetry
from flows.adapters.stateful import stateful
from flows.core import feature_rows
from flows.core.broker import Outgoing, Record
from flows.core.decode import Decoder
from flows.core.features import Assembler, EntityFeatures, EntityKey, Part, Row, Splitter, Step
from flows.core.intake import Batch, Intake
from flows.core.models import Lineup, Model, first_model
from flows.core.plan import FeaturePlan
from flows.core.predictor import Predictor
from flows.core.windows import Value
from flows.wiring import Engine, drain_on_signals, engine

OUTPUTS = ("predictions", "features", "dead-letters")


class Sorted(NamedTuple):
    """A batch and the steps of each entity it touches; `number` counts the slot's batches."""

    number: int
    batch: Batch
    steps: dict[EntityKey, list[Step]]


class EntitySteps(NamedTuple):
    """One entity's steps of one batch of one slot."""

    slot: str
    number: int
    key: EntityKey
    steps: list[Step]


class EntityPart(NamedTuple):
    """What one entity answered to one batch of one slot."""

    slot: str
    number: int
    part: Part


class Vectors(NamedTuple):
    """A batch with the feature vector of each of its questions, and the rows for the stores."""

    batch: Batch
    vectors: list[list[Value]]
    rows: list[Row]


def flow() -> Dataflow:
    """The dataflow of the project in the working directory, for `python -m bytewax.run flows.predict`."""
    running = engine()
    drain_on_signals(running)
    return build(running)


def build(running: Engine) -> Dataflow:
    """The dataflow of one pipeline."""
    pipeline, plan = running.pipeline, running.plan()
    topics = [stream.topic for stream in (*pipeline.sources, pipeline.events)]

    dataflow = Dataflow("predict")
    records = op.input("records", dataflow, running.source("predict", topics, [pipeline.topic("models")]))
    batches = stateful("intake", records, lambda state: _Intake(running, state))
    sorted_out = op.map_value("split", batches, _Split(plan))
    steps = op.flat_map("by_entity", sorted_out, _by_entity)
    parts = stateful("windows", steps, lambda state: _Windows(plan, state))
    parts_of_slot = op.map("by_slot", parts, _by_slot)
    vectors = stateful("assemble", op.merge("gather", sorted_out, parts_of_slot), lambda _: _Assemble(plan))
    predictions = stateful("predict", vectors, lambda state: _Predict(running, plan, state))
    op.output("publish", predictions, running.sink(OUTPUTS))
    return dataflow


class _Intake:
    """Keyed by slot: decodes and checks records; remembers the ids of events."""

    def __init__(self, running: Engine, state: bytes | None) -> None:
        pipeline = running.pipeline
        decoders = {s.topic: Decoder(s.id, s.time, s.fields) for s in (*pipeline.sources, pipeline.events)}
        models, dead_letters = pipeline.topic("models"), pipeline.topic("dead-letters")
        seen = orjson.loads(state) if state else None
        self._intake = Intake(decoders, pipeline.events.topic, models, dead_letters, seen)

    def take(self, values: list[list[Record]]) -> list[Batch]:
        with telemetry.STAGE.labels("intake").time():
            return [self._intake.take(records) for records in values]

    def snapshot(self) -> bytes:
        return orjson.dumps(self._intake.snapshot())


class _Split:
    """Numbers the batches and finds out which entities they touch."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._splitter = Splitter(plan)
        self._number = 0

    def __call__(self, batch: Batch) -> Sorted:
        self._number += 1
        items = [item for item in batch.items if not isinstance(item, Record)]
        return Sorted(self._number, batch, self._splitter.split(items))


def _by_entity(keyed: tuple[str, Sorted]) -> Iterable[tuple[str, EntitySteps]]:
    slot, (number, _, steps) = keyed
    return [
        (f"{key.entity}={key.value}", EntitySteps(slot, number, key, part)) for key, part in steps.items()
    ]


class _Windows:
    """Keyed by entity: the windows of all its views."""

    def __init__(self, plan: FeaturePlan, state: bytes | None) -> None:
        self._plan = plan
        self._state = state
        self._features: EntityFeatures | None = None

    def take(self, values: list[EntitySteps]) -> list[EntityPart]:
        if self._features is None:
            key = values[0].key
            self._features = EntityFeatures(key, self._plan.views_of(key.entity), self._state)
        return [EntityPart(slot, number, self._features.run(steps)) for slot, number, _, steps in values]

    def snapshot(self) -> bytes:
        return self._features.snapshot() if self._features is not None else self._state or b""


def _by_slot(keyed: tuple[str, EntityPart]) -> tuple[str, EntityPart]:
    return keyed[1].slot, keyed[1]


class _Assemble:
    """Keyed by slot: puts the parts of each batch together.

    A batch passes through within its epoch, so at a snapshot nothing waits here, nothing is to be stored.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._assembler = Assembler(plan)
        self._batches: dict[int, Sorted] = {}
        self._parts: dict[int, list[Part]] = {}

    def take(self, values: Sequence[Sorted | EntityPart]) -> Iterable[Vectors]:
        for value in values:
            if isinstance(value, Sorted):
                self._batches[value.number] = value
            else:
                self._parts.setdefault(value.number, []).append(value.part)
        complete = [n for n, b in self._batches.items() if len(self._parts.get(n, ())) == len(b.steps)]
        return [self._assemble(number) for number in sorted(complete)]

    def snapshot(self) -> bytes:
        return b""

    def _assemble(self, number: int) -> Vectors:
        batch = self._batches.pop(number).batch
        parts = self._parts.pop(number, [])
        telemetry.LATE_RECORDS.inc(sum(part.late for part in parts))
        vectors = self._assembler.assemble(len(batch.records), parts)
        return Vectors(batch, vectors, [row for part in parts for row in part.rows])


class _Predict:
    """Keyed by slot: the models in service, and the records that a batch becomes."""

    def __init__(self, running: Engine, plan: FeaturePlan, state: bytes | None) -> None:
        pipeline = running.pipeline
        self._sealer = running.sealer()
        self._features = pipeline.topic("features")
        lineup: Lineup = self._sealer.open_state(state) if state else Lineup(first_model(pipeline.model()))
        names = running.names(plan)
        self._predictor = Predictor(pipeline.name, pipeline.inputs, names, plan.hash, lineup, self._sealer)
        self._shown: Model | None = None

    def take(self, values: list[Vectors]) -> list[list[Outgoing]]:
        with telemetry.STAGE.labels("predict").time():
            out = self._predict(values)
        self._show()
        return out

    def _predict(self, values: list[Vectors]) -> list[list[Outgoing]]:
        return [
            self._predictor.score(batch, vectors) + feature_rows.encode(self._features, rows)
            for batch, vectors, rows in values
        ]

    def snapshot(self) -> bytes:
        return self._sealer.seal_state(self._predictor.lineup)

    def _show(self) -> None:
        """Set the gauges that tell which models are in service, when they have changed."""
        lineup = self._predictor.lineup
        if lineup.champion is not self._shown:
            self._shown = lineup.champion
            telemetry.MODEL_LABELS.set(lineup.champion.learned)
            telemetry.snapshot_taken()
            challengers = dict.fromkeys(lineup.challengers, "challenger")
            telemetry.models_in_service({lineup.champion.version: "champion", **challengers})
