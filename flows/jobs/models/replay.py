"""Computes a model after any number of labels again, from a registered state and the logged labels."""

from typing import NamedTuple

from flows.core.learning.replay import RegisteredState, Replay
from flows.core.models.model import Model
from flows.core.models.tasks import task_of
from flows.core.registry.entry import Entry
from flows.core.stream.broker import Broker
from flows.errors import SnapshotError
from flows.jobs.models.commands import read_registry
from flows.jobs.models.learned_rows import LearnedLog, LearnedPlaces
from flows.runtime.engine import Engine

_LEAST = 100  # rows that are read at once


class _Progress(NamedTuple):
    """A replay, the entry with the state that it began with, and the log from which it reads."""

    begun: Entry
    replay: Replay
    log: LearnedLog


class ModelReplays:
    """Computes models of a pipeline again; cheapest in the order in which they learned."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._pipeline = engine.pipeline
        self._names = engine.pipeline.feature_names(engine.state.plan())
        self._broker = broker
        self._sealer = engine.sealer()
        self._registry, _ = read_registry(engine, broker)
        self._places = LearnedPlaces(broker, engine.pipeline)
        self._progress: _Progress | None = None

    def model(self, version: str, learned: int) -> Model:
        """Return the model of a version after `learned` events, which changes with the next call.

        Raises `SnapshotError` if no state of the version is stored from before, or a label is gone.
        """
        _, replay, log = self._at(version, learned)
        while replay.model.learned < learned:
            places = self._places.after(replay.row, max(_LEAST, learned - replay.model.learned))
            if not places:
                raise SnapshotError(
                    f"topic {self._pipeline.topic('learned')!r} must say which labels {version} learned, got "
                    f"none after {replay.model.learned:,} of {learned:,}"
                )
            for row in log.rows(places):
                if replay.model.learned < learned:
                    replay.learn(row)
        return replay.model

    def _at(self, version: str, learned: int) -> _Progress:
        """Return the replay that is nearest before: the one that goes on, or one from a stored state."""
        entry, progress = self._nearest(version, learned), self._progress
        if progress is None or progress.begun != entry or progress.replay.model.learned > learned:
            progress = self._progress = self._begin(entry)
        return progress

    def _nearest(self, version: str, learned: int) -> Entry:
        """Return the entry with the last state of a version that is not after `learned` events."""
        known = self._registry.versions.get(version)
        stored = [
            entry
            for entry in ([] if known is None else known.entries)
            if entry.snapshot is not None and entry.learned <= learned
        ]
        if not stored:
            raise SnapshotError(f"no state of version {version} up to {learned:,} events is registered")
        return stored[-1]

    def _begin(self, entry: Entry) -> _Progress:
        assert entry.snapshot is not None
        state = RegisteredState.restored(self._sealer, entry.snapshot)
        model = Model(entry.version, state.estimator, entry.learned, task_of(self._pipeline.task))
        return _Progress(entry, Replay(state, model, self._names), LearnedLog(self._broker, self._pipeline))
