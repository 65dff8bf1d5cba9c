"""Computes features from history with the code of the predict flow, and writes them to Feast's stores.

The engine's state at the end can be left as a seed, from which the predict flow starts warm.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import orjson

from flows.adapters.feast.offline import OfflineStore
from flows.adapters.sqlite.seed import write_seed
from flows.core.features.batch import Row
from flows.core.features.engine import FeatureEngine, FeatureVector
from flows.core.features.plan import FeaturePlan
from flows.core.serving.served_rows import ServedRow
from flows.core.stream.broker import Record
from flows.core.stream.dead_tally import DeadTally, dead_of
from flows.errors import ConfigError
from flows.host.functions import load_transformer
from flows.pipeline import Pipeline
from flows.runtime.state import PipelineState
from flows.runtime.user_faults import trace

if TYPE_CHECKING:
    from flows.adapters.feast.online import OnlineStore

BATCH = 1000  # records computed at once; each batch gives one row per entity and view
_OFFLINE_ROWS = 100_000  # rows written to the offline store at once
_ONLINE_ROWS = 100_000  # entities whose newest rows are kept until they are written online


class Backfill:
    """Computes the features of a history and writes them to Feast's stores."""

    def __init__(
        self, engine: FeatureEngine, plan: FeaturePlan, offline: OfflineStore, online: "OnlineStore"
    ) -> None:
        self.engine = engine
        self.records = 0  # read so far
        self.written = Counter({"offline": 0, "online": 0})  # rows
        self.dead = DeadTally()
        self._places = plan.places
        self._offline = offline
        self._online = online
        self._rows: list[Row] = []
        self._served: list[ServedRow] = []
        self._newest: dict[tuple[str, str | int], Row] = {}

    def run(self, history: Iterable[Record]) -> Iterator[int]:
        """Process `history`; yield the number of records after each batch. All is written at the end."""
        records = iter(history)
        while batch := list(islice(records, BATCH)):
            self._compute(batch)
            self.records += len(batch)
            yield len(batch)
        self._write_offline()
        self._write_online()

    def summary(self, seconds: float) -> Iterator[str]:
        """Yield the counts, the first dead letter of each reason and the first traceback, as lines."""
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in self.dead.number.most_common())
        dead_letters = f"{self.dead.total:,} dead letters" + (f" ({reasons})" if reasons else "")
        yield (
            f"{self.records:,} records, {dead_letters}, "
            f"{self.written['offline']:,} rows written offline and {self.written['online']:,} online, "
            f"{len(self.engine):,} entities known at the end, {seconds:.1f} s"
        )
        for reason, first in self.dead.first.items():
            place = f"{first.topic}, partition {first.partition}, offset {first.offset}"
            yield f"the first {reason}: {place}: {first.detail}"
        if self.dead.error and (shown := trace(self.dead.error)):
            yield f"the first error of your own code:\n{shown}"

    @property
    def failed(self) -> bool:
        """Whether there were records and every one became a dead letter."""
        return 0 < self.records <= self.dead.total

    def _compute(self, batch: Sequence[Record]) -> None:
        computed = self.engine.take(batch)
        for letter in computed.dead:
            self.dead.add(dead_of(letter))
        for error in computed.errors:
            self.dead.failed(error)
        self._rows += computed.rows
        for answer in computed.answers:
            self._served += self._served_rows(answer)
        for row in computed.rows:
            newest = self._newest.get((row.view, row.key))
            if newest is None or row.time >= newest.time:
                self._newest[row.view, row.key] = row
        if len(self._rows) + len(self._served) >= _OFFLINE_ROWS:
            self._write_offline()
        if len(self._newest) >= _ONLINE_ROWS:
            self._write_online()

    def _served_rows(self, answer: FeatureVector) -> Iterator[ServedRow]:
        """Yield the features of a question by view, as the materialize flow writes them."""
        _, question, vector = answer
        for view, start, stop in self._places:
            key = question.payload.get(view.entity)
            if key is not None:
                yield ServedRow(view.name, key, question.moment, vector[start:stop])

    def _write_offline(self) -> None:
        self._offline.append(self._rows, time.time_ns() // 1_000_000, self._served)
        self.written["offline"] += len(self._rows) + len(self._served)
        self._rows, self._served = [], []

    def _write_online(self) -> None:
        self.written["online"] += self._online.write(self._newest.values())
        self._newest = {}


def feature_engine(pipeline: Pipeline, plan: FeaturePlan) -> FeatureEngine:
    """Return a pipeline's feature engine without any state, with an intake for each slot."""
    intakes = [pipeline.intake(plan) for _ in range(pipeline.partitions)]
    return FeatureEngine(intakes, plan, load_transformer(plan), pipeline.topic("dead-letters"))


def check_cold(state: PipelineState) -> None:
    """Raise `ConfigError` if the predict flow has stored state, since it would ignore a seed."""
    folder = state.recovery_dir("predict")
    if folder.exists():
        raise ConfigError(
            f"--seed needs a predict flow without state, but {state.pipeline} has state in {folder}; "
            "start over (see 'Start over' in docs/how-to/operations.md), or leave --seed out"
        )


def leave_seed(
    state: PipelineState, plan: FeaturePlan, engine: FeatureEngine, ends: Mapping[str, int]
) -> None:
    """Write the engine's state as the seed of the predict flow, which then reads from the offsets `ends`."""
    states = [intake.snapshot() for intake in engine.intakes]
    if not ends:  # the history came from files, so the flow has read nothing of its topics
        states = [state | {"next": {}} for state in states]
    write_seed(state.seed_file, plan.hash, ends, map(orjson.dumps, states), engine.entities())
