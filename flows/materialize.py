"""The materialize flow: feature rows in, Feast's online and offline stores written.

    features ──> decode ──> stores
                            (online: the newest row of each entity; offline: parquet parts)

A store that is away holds the flow back: a batch is tried again until it is written, and only then may its
epoch close. Run it with `driftline run materialize`, or with `python -m bytewax.run flows.materialize`.
"""

import logging
import time
from collections.abc import Callable

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.adapters import telemetry
from flows.adapters.feast_offline import FAN_IN, OfflineStore
from flows.adapters.feast_online import OnlineStore
from flows.adapters.feast_repo import offline_folders, open_store
from flows.core import feature_rows
from flows.core.broker import Record
from flows.core.features import Row
from flows.errors import StoreError
from flows.wiring import Engine, drain_on_signals, engine

_PACE = 0.6  # seconds between batches: fewer, larger writes, well within the second that is promised
_LONGEST_WAIT = 5.0  # seconds between attempts at a store that is away

_log = logging.getLogger("driftline.materialize")


def flow() -> Dataflow:
    """The dataflow of the project in the working directory, for `python -m bytewax.run flows.materialize`."""
    running = engine()
    drain_on_signals(running)
    return build(running)


def build(running: Engine) -> Dataflow:
    """The dataflow of one pipeline."""
    dataflow = Dataflow("materialize")
    source = running.source("materialize", [running.pipeline.topic("features")], idle=0.02, pace=_PACE)
    records = op.input("records", dataflow, source)
    rows = op.map("decode", records, _decode)
    op.output("stores", rows, _StoreSink(running))
    return dataflow


def _decode(keyed: tuple[str, list[Record]]) -> list[Row]:
    return [row for record in keyed[1] for row in feature_rows.decode(record)]


class _StoreSink(DynamicSink[list[Row]]):
    """Opens the stores on each worker."""

    def __init__(self, running: Engine) -> None:
        self._running = running

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Stores":
        running, plan = self._running, self._running.plan()
        store = open_store(running.project.feature_repo, running.settings.feature_store)
        offline = OfflineStore(offline_folders(store, plan), plan)
        return _Stores(OnlineStore(store, plan), offline, [view.name for view in plan.views], running)


class _Stores(StatelessSinkPartition[list[Row]]):
    def __init__(self, online: OnlineStore, offline: OfflineStore, views: list[str], running: Engine) -> None:
        self._online = online
        self._offline = offline
        self._views = views
        self._drain = running.drain
        self._writes = 0

    def write_batch(self, items: list[list[Row]]) -> None:
        rows = [row for batch in items for row in batch]
        self._until_written(lambda: self._offline.append(rows, time.time_ns() // 1_000_000))
        self._until_written(lambda: self._write_online(rows))
        telemetry.FEATURE_ROWS.labels("offline").inc(len(rows))
        self._writes += 1
        if self._writes % FAN_IN == 0:
            for view in self._views:
                self._offline.compact(view)

    def _write_online(self, rows: list[Row]) -> None:
        telemetry.FEATURE_ROWS.labels("online").inc(self._online.write(rows))
        oldest = min((row.time for row in rows), default=None)
        if oldest is not None:
            telemetry.FEATURE_FRESHNESS.observe(time.time() - oldest / 1000)

    def _until_written(self, write: Callable[[], None]) -> None:
        """Try until the store takes it; a shutdown meanwhile leaves the batch for the next start."""
        wait = 0.1
        while True:
            try:
                return write()
            except StoreError as error:
                _log.warning("%s; trying again", error)
                if self._drain.wait(wait):
                    raise
                wait = min(2 * wait, _LONGEST_WAIT)
