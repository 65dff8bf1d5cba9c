"""The steps of the materialize flow."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.adapters.feast.feature_stores import FeatureStores
from flows.adapters.feast.offline import FAN_IN, OfflineStore
from flows.adapters.feast.online import OnlineStore
from flows.adapters.prometheus import metrics
from flows.core.features import feature_rows
from flows.core.features.batch import Row
from flows.core.features.plan import FeaturePlan
from flows.core.serving.served_rows import AnswerDecoder, ServedAnswer, ServedRow
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.core.stream.drain import Drain
from flows.errors import InvalidRecord, StoreError
from flows.pipeline import Pipeline

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds between attempts at a store that is unavailable
_POLL = 0.05  # seconds

_log = logging.getLogger("driftline.materialize")


class StoreBatch(NamedTuple):
    """What the stores get of one batch of records, and the dead letters for invalid records.

    `newest` has the newest event time (ms) of each record of feature rows.
    """

    rows: list[Row]
    served: list[ServedRow]
    newest: list[int]
    dead: list[Outgoing]


class DecodeStep:
    """Decodes feature rows and predictions; records that the engine did not write become dead letters."""

    def __init__(self, pipeline: Pipeline, plan: FeaturePlan) -> None:
        self._predictions = pipeline.topic("predictions")
        self._dead_letters = pipeline.topic("dead-letters")
        self._rows = feature_rows.RowDecoder(plan.views)
        self._answers = AnswerDecoder(plan, len(pipeline.inputs))
        self._plan = plan.hash

    def __call__(self, records: list[Record]) -> StoreBatch:
        """Return what the stores get."""
        batch = StoreBatch([], [], [], [])
        answers = iter(self._answers.decode([r for r in records if r.topic == self._predictions]))
        for record in records:
            try:
                if record.topic == self._predictions:
                    self._add_prediction(next(answers), batch)
                else:
                    self._add_rows(record, batch)
            except InvalidRecord as fault:
                batch.dead.append(self._dead(record, fault))
        return batch

    def _add_prediction(self, answer: ServedAnswer | InvalidRecord, batch: StoreBatch) -> None:
        if isinstance(answer, InvalidRecord):
            raise answer
        if answer.plan != self._plan:
            metrics.OTHER_PLANS.inc()
        batch.served.extend(answer.rows)
        _check(answer.faults, len(answer.rows))

    def _add_rows(self, record: Record, batch: StoreBatch) -> None:
        rows, faults = self._rows.decode(record)
        batch.rows.extend(rows)
        if rows:
            batch.newest.append(max(row.time for row in rows))
        _check(faults, len(rows))

    def _dead(self, record: Record, fault: InvalidRecord) -> Outgoing:
        """Return the dead letter, with an id of this flow: the learner writes one for a prediction too."""
        return dead_letter(self._dead_letters, record, fault.reason, str(fault), "materialize")


def _check(faults: Sequence[str], written: int) -> None:
    """Raise `InvalidRecord` if some rows of a record are invalid; the others are written."""
    if faults:
        raise InvalidRecord(
            "schema", f"{faults[0]}; {len(faults)} rows were left out, {written} were written"
        )


class StoreSink(DynamicSink[StoreBatch]):
    """Opens the stores on each worker."""

    def __init__(self, plan: FeaturePlan, stores: FeatureStores, drain: Drain) -> None:
        self._plan = plan
        self._stores = stores
        self._drain = drain

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "StoreWriter":
        offline, online = self._stores.stores(self._plan)
        return StoreWriter(online, offline, [view.name for view in self._plan.views], self._drain)


class StoreWriter(StatelessSinkPartition[StoreBatch]):
    """Writes batches to both stores, and compacts the offline store from time to time.

    A store that is unavailable stalls the flow: the batch is retried until it is written, and only then may
    its epoch close.
    """

    def __init__(
        self, online: OnlineStore, offline: OfflineStore, views: Sequence[str], drain: Drain
    ) -> None:
        self._online = online
        self._offline = offline
        self._views = views
        self._drain = drain
        self._writes = 0

    def write_batch(self, items: list[StoreBatch]) -> None:
        rows = [row for batch in items for row in batch.rows]
        served = [row for batch in items for row in batch.served]
        self._until_written(lambda: self._offline.append(rows, time.time_ns() // 1_000_000, served))
        metrics.FEATURE_ROWS.labels("offline").inc(len(rows) + len(served))
        self._until_written(lambda: metrics.FEATURE_ROWS.labels("online").inc(self._online.write(rows)))
        now = time.time()
        for batch in items:
            for newest in batch.newest:
                metrics.FEATURE_FRESHNESS.observe(now - newest / 1000)
        self._writes += 1
        if self._writes % FAN_IN == 0:
            for view in self._views:
                self._until_written(partial(self._offline.compact, view))

    def _until_written(self, write: Callable[[], None]) -> None:
        """Retry until the store is written; a shutdown meanwhile leaves the batch to the next start."""
        wait = _FIRST_WAIT
        while True:
            try:
                return write()
            except StoreError as error:
                _log.warning("%s; trying again", error)
                if self._drains_within(wait):
                    raise
                wait = min(2 * wait, _LONGEST_WAIT)

    def _drains_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._drain.is_set() and time.monotonic() < deadline:
            time.sleep(_POLL)
        return self._drain.is_set()
