"""The predict flow: events and feature sources in; predictions, feature rows and dead letters out.

    records ──> intake ──> split by entity ──> windows ──> assemble ──> predict ──> publish
              (decode,      (one key for       (Feast's     (vectors)   (champion
               validate)     each entity)    aggregates)               and shadows)

A batch of records travels as one item up to the split, where each entity it touches gets its part, in the
order of the batch; the parts meet again in `assemble`. Where the plan has batch views, a step behind it reads
them from Feast's online store. Run it with `driftline run predict`, or by itself with
`python -m bytewax.run flows.predict`.
"""

import logging
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.stateful import expiring_stateful, stateful
from flows.adapters.prometheus import metrics as telemetry
from flows.adapters.sqlite.seed import Seed
from flows.core.features import entity_state
from flows.core.features import rows as feature_rows
from flows.core.features.batch import (
    Assembler,
    EntityKey,
    Part,
    Question,
    Row,
    Splitter,
    Step,
)
from flows.core.features.entity import EntityFeatures
from flows.core.features.idle import IdleIndex
from flows.core.features.intake import Batch, Intake
from flows.core.features.lookups import Lookups
from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.models.model import Lineup, Model
from flows.core.serving.predictor import Predictor
from flows.core.stream.broker import Outgoing, Record
from flows.runtime.engine import Engine, drain_on_signals, engine
from flows.runtime.user_faults import FaultLog

OUTPUTS = ("predictions", "features", "dead-letters")

_log = logging.getLogger("driftline.predict")


class Sorted(NamedTuple):
    """A batch and the steps of each entity it touches; `number` counts the slot's batches."""

    number: int
    batch: Batch
    steps: list[tuple[EntityKey, list[Step]]]


class EntitySteps(NamedTuple):
    """One entity's steps of one batch of one slot."""

    slot: str
    number: int
    key: EntityKey
    steps: list[Step]


class Idle(NamedTuple):
    """Asks an entity whether it has been idle for so long that it may be forgotten, as of `time` (ms)."""

    time: int


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
    topics = [stream.topic for stream in pipeline.feature_streams]
    idle, seed = IdleIndex(plan.lateness), running.seed(plan)

    dataflow = Dataflow("predict")
    source = running.source("predict", topics, [pipeline.topic("models")], start=seed.offsets if seed else {})
    records = op.map("with_slot", op.input("records", dataflow, source), _with_slot)
    batches = stateful("intake", records, lambda state: _Intake(running, plan, seed, state))
    sorted_out = op.map_value("split", batches, _Split(plan))
    steps = op.flat_map("by_entity", sorted_out, _ByEntity(idle))
    parts = expiring_stateful("windows", steps, lambda state: _Windows(plan, idle, seed, state))
    parts_of_slot = op.map("by_slot", parts, _by_slot)
    vectors = stateful("assemble", op.merge("gather", sorted_out, parts_of_slot), lambda _: _Assemble(plan))
    if plan.lookups:
        vectors = op.map_value("look_up", vectors, _LookUp(running.lookups(plan)))
    predictions = stateful("predict", vectors, lambda state: _Predict(running, plan, state))
    op.output("publish", predictions, running.sink(OUTPUTS))
    return dataflow


def _with_slot(keyed: tuple[str, list[Record]]) -> tuple[str, tuple[str, list[Record]]]:
    return keyed[0], keyed


class _Intake:
    """Keyed by slot: decodes and checks records; remembers the ids of events.

    Without a stored state it begins with that of the seed, for the slot of the first records.
    """

    def __init__(self, running: Engine, plan: FeaturePlan, seed: Seed | None, state: bytes | None) -> None:
        self._pipeline = running.pipeline
        self._plan = plan
        self._seed = seed
        self._intake = self._begin(state) if state else None

    def take(self, values: list[tuple[str, list[Record]]]) -> list[Batch]:
        with telemetry.STAGE.labels("intake").time():
            intake = self._intake
            if intake is None:
                slot = int(values[0][0])
                intake = self._intake = self._begin(self._seed.intake(slot) if self._seed else None)
            return [intake.take(records) for _, records in values]

    def snapshot(self) -> bytes:
        return orjson.dumps(self._intake.snapshot()) if self._intake else b""

    def _begin(self, state: bytes | None) -> Intake:
        return self._pipeline.intake(self._plan, orjson.loads(state) if state else None)


class _Split:
    """Numbers the batches and finds out which entities they touch."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._splitter = Splitter(plan)
        self._number = 0

    def __call__(self, batch: Batch) -> Sorted:
        self._number += 1
        items = [item for item in batch.items if not isinstance(item, Record)]
        return Sorted(self._number, batch, self._splitter.split(items))


class _ByEntity:
    """Sends each entity its steps, and asks those whose time has come whether they are idle."""

    def __init__(self, idle: IdleIndex) -> None:
        self._idle = idle
        self._now = 0  # the newest event time (ms)

    def __call__(self, keyed: tuple[str, Sorted]) -> Iterable[tuple[str, EntitySteps | Idle]]:
        slot, (number, batch, steps) = keyed
        times = [item.time for item in batch.items if not isinstance(item, Record)]
        self._now = max(self._now, *times) if times else self._now
        out: list[tuple[str, EntitySteps | Idle]] = [
            (key.name, EntitySteps(slot, number, key, part)) for key, part in steps
        ]
        return out + [(key, Idle(self._now)) for key in self._idle.due(self._now)]


class _Windows:
    """Keyed by entity: the windows of all its views.

    Of the stored state the beginning is read on resume, so that the index of idle entities knows it before it
    is touched; the rest is read when it is. An entity without one begins with that of the seed.
    """

    def __init__(self, plan: FeaturePlan, idle: IdleIndex, seed: Seed | None, stored: bytes | None) -> None:
        self._plan = plan
        self._idle = idle
        self._seed = seed
        self._stored = stored
        self._features: EntityFeatures | None = None
        self._name = ""
        self._expires = 0
        self._expired = False
        telemetry.ENTITIES.inc()
        if stored is not None:
            self._name, self._expires = entity_state.name_and_expiry(stored)
            idle.put(self._name, self._expires)

    def take(self, values: list[EntitySteps | Idle]) -> list[EntityPart]:
        return [
            EntityPart(value.slot, value.number, self._run(value))
            for value in values
            if isinstance(value, EntitySteps) or self._look(value.time)
        ]

    def expired(self) -> bool:
        if self._expired:
            telemetry.ENTITIES.dec()
        return self._expired

    def snapshot(self) -> bytes:
        if self._features is None:
            return self._stored or b""
        return entity_state.pack(self._name, self._expires, self._features.snapshot())

    def _run(self, given: EntitySteps) -> Part:
        if self._features is None:
            self._features = self._loaded(given.key)
        part = self._features.run(given.steps)
        self._expires, self._expired = self._features.expires, False
        if not self._name:
            self._name = given.key.name
            self._idle.put(self._name, self._expires)
        return part

    def _loaded(self, key: EntityKey) -> EntityFeatures:
        stored, self._stored = self._stored, None
        if stored is None and self._seed:
            stored = self._seed.entity(key.name)
        windows = entity_state.windows(stored) if stored else None
        return EntityFeatures(key, self._plan.views_of(key.entity), self._plan.lateness, windows)

    def _look(self, now: int) -> Literal[False]:
        """Expire, or be looked at again later; nothing is answered."""
        self._expired = self._expires <= now
        if not self._expired:
            self._idle.put(self._name, self._expires)
        return False


def _by_slot(keyed: tuple[str, EntityPart]) -> tuple[str, EntityPart]:
    return keyed[1].slot, keyed[1]


class _Assemble:
    """Keyed by slot: puts the parts of each batch together, and passes the batches on in their order.

    In a cluster the parts of a batch may come after a later batch that has none, such as one of models only.
    A batch passes through within its epoch, so at a snapshot nothing waits here and nothing is to be stored.
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
        return [self._assemble(number) for number in takewhile(self._is_complete, sorted(self._batches))]

    def snapshot(self) -> bytes:
        return b""

    def _is_complete(self, number: int) -> bool:
        return len(self._parts.get(number, ())) == len(self._batches[number].steps)

    def _assemble(self, number: int) -> Vectors:
        batch = self._batches.pop(number).batch
        parts = self._parts.pop(number, [])
        telemetry.LATE_RECORDS.inc(sum(part.late for part in parts))
        vectors = self._assembler.assemble(len(batch.records), parts)
        return Vectors(batch, vectors, [row for part in parts for row in part.rows])


class _LookUp:
    """Extends the vectors by the features of batch views."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    def __call__(self, given: Vectors) -> Vectors:
        questions = [item for item in given.batch.items if isinstance(item, Question)]
        with telemetry.STAGE.labels("look-up").time():
            nulls = self._lookups.extend(questions, given.vectors)
        for (view, reason), number in nulls.items():
            telemetry.LOOKUPS_NULL.labels(view, reason).inc(number)
        return given


class _Predict:
    """Keyed by slot: the models in service, and the records that a batch becomes."""

    def __init__(self, running: Engine, plan: FeaturePlan, state: bytes | None) -> None:
        pipeline = running.pipeline
        self._sealer = running.sealer()
        self._features = pipeline.topic("features")
        lineup: Lineup = self._sealer.open_state(state) if state else Lineup(pipeline.new_model())
        transformer = running.transformer(plan)
        self._predictor = Predictor(
            pipeline.name, pipeline.inputs, plan, transformer, lineup, self._sealer, FaultLog(_log)
        )
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
