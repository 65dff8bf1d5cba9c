"""The materialize flow: feature rows and predictions in, Feast's online and offline stores written.

    features ──────┬──> decode ──┬──> stores
    predictions ───┘             │    (online: the newest row of each entity;
                                 │     offline: all rows, and what each question was served, as parquet parts)
                                 └──> publish (dead letters: what the engine did not write)

A store that is away holds the flow back: a batch is tried again until it is written, and only then may its
epoch close. Run it with `driftline run materialize`, or with `python -m bytewax.run flows.materialize`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.adapters.feast.offline import FAN_IN, OfflineStore
from flows.adapters.feast.online import OnlineStore
from flows.adapters.prometheus import metrics as telemetry
from flows.core.features import rows as feature_rows
from flows.core.features.batch import Row
from flows.core.serving.served_rows import AnswerDecoder, ServedRow
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.errors import InvalidRecord, StoreError
from flows.runtime.engine import Engine, drain_on_signals, engine

OUTPUTS = ("dead-letters",)

_PACE = 0.6  # seconds between batches: fewer, larger writes, well within the second that is promised
_BATCHES = 5  # of the settings' size that are read as one: a backlog goes in few and large writes too
_LONGEST_WAIT = 5.0  # seconds between attempts at a store that is away

_log = logging.getLogger("driftline.materialize")


class StoreBatch(NamedTuple):
    """What the stores take of one batch of records, and the dead letters of what is not the engine's.

    `newest` has the newest event time (ms) of each record of feature rows.
    """

    rows: list[Row]
    served: list[ServedRow]
    newest: list[int]
    dead: list[Outgoing]


def flow() -> Dataflow:
    """The dataflow of the project in the working directory, for `python -m bytewax.run flows.materialize`."""
    running = engine()
    drain_on_signals(running)
    return build(running)


def build(running: Engine) -> Dataflow:
    """The dataflow of one pipeline."""
    dataflow = Dataflow("materialize")
    topics = [running.pipeline.topic(kind) for kind in ("features", "predictions")]
    large = replace(running, settings=replace(running.settings, batch=_BATCHES * running.settings.batch))
    records = op.input("records", dataflow, large.source("materialize", topics, idle=0.02, pace=_PACE))
    batches = op.map_value("decode", records, _Decode(running))
    op.output("stores", op.map("of_all", batches, _batch_of), _StoreSink(running))
    op.output("publish", op.map_value("dead", batches, _dead_of), running.sink(OUTPUTS))
    return dataflow


def _batch_of(keyed: tuple[str, StoreBatch]) -> StoreBatch:
    return keyed[1]


def _dead_of(batch: StoreBatch) -> list[Outgoing]:
    return batch.dead


class _Decode:
    """Decodes a batch of records, and makes dead letters of those that the engine did not write."""

    def __init__(self, running: Engine) -> None:
        plan = running.plan()
        self._predictions = running.pipeline.topic("predictions")
        self._rows = feature_rows.RowCheck(plan.views)
        self._answers = AnswerDecoder(plan, len(running.pipeline.inputs))
        self._plan = plan.hash
        self._dead_letters = running.pipeline.topic("dead-letters")

    def __call__(self, records: list[Record]) -> StoreBatch:
        batch = StoreBatch([], [], [], [])
        for record in records:
            try:
                self._take(record, batch)
            except InvalidRecord as fault:
                batch.dead.append(self._dead(record, fault))
        return batch

    def _take(self, record: Record, batch: StoreBatch) -> None:
        if record.topic == self._predictions:
            answer = self._answers.decode(record)
            if answer.plan != self._plan:
                telemetry.OTHER_PLANS.inc()
            batch.served.extend(answer.rows)
            _refuse(answer.faults, len(answer.rows))
        else:
            rows, faults = self._rows.sound(feature_rows.decode(record))
            batch.rows.extend(rows)
            if rows:
                batch.newest.append(max(row.time for row in rows))
            _refuse(faults, len(rows))

    def _dead(self, record: Record, fault: InvalidRecord) -> Outgoing:
        """Its id is this flow's own: what is no prediction is a dead letter of the learner, too."""
        return dead_letter(self._dead_letters, record, fault.reason, str(fault), "materialize")


def _refuse(faults: Sequence[str], sound: int) -> None:
    """Raise `InvalidRecord` for what a record has beside its sound rows, which are written."""
    if faults:
        raise InvalidRecord("schema", f"{faults[0]}; {len(faults)} rows were left out, {sound} were written")


class _StoreSink(DynamicSink[StoreBatch]):
    """Opens the stores on each worker."""

    def __init__(self, running: Engine) -> None:
        self._running = running

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Stores":
        plan = self._running.plan()
        offline, online = self._running.stores(plan)
        return _Stores(online, offline, [view.name for view in plan.views], self._running)


class _Stores(StatelessSinkPartition[StoreBatch]):
    def __init__(self, online: OnlineStore, offline: OfflineStore, views: list[str], running: Engine) -> None:
        self._online = online
        self._offline = offline
        self._views = views
        self._drain = running.drain
        self._writes = 0

    def write_batch(self, items: list[StoreBatch]) -> None:
        rows = [row for batch in items for row in batch.rows]
        served = [row for batch in items for row in batch.served]
        self._until_written(lambda: self._offline.append(rows, time.time_ns() // 1_000_000, served))
        telemetry.FEATURE_ROWS.labels("offline").inc(len(rows) + len(served))
        self._until_written(lambda: telemetry.FEATURE_ROWS.labels("online").inc(self._online.write(rows)))
        now = time.time()
        for newest in (each for batch in items for each in batch.newest):
            telemetry.FEATURE_FRESHNESS.observe(now - newest / 1000)
        self._writes += 1
        if self._writes % FAN_IN == 0:
            for view in self._views:
                self._until_written(partial(self._offline.compact, view))

    def _until_written(self, write: Callable[[], None]) -> None:
        """Try until the store takes it; a shutdown meanwhile leaves the batch for the next start."""
        wait = 0.1
        while True:
            try:
                return write()
            except StoreError as error:
                _log.warning("%s; trying again", error)
                if self._drains_within(wait):
                    raise
                wait = min(2 * wait, _LONGEST_WAIT)

    def _drains_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._drain.is_set() and time.monotonic() < until:
            time.sleep(0.05)
        return self._drain.is_set()
