"""Finds the model that scored a prediction: on the models topic, or by learning the logged labels again."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from flows.core.models.baselines import Score
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import Features
from flows.core.serving.prediction_message import ServedPrediction
from flows.core.stream.broker import Broker, TopicPartition, read_range, read_since
from flows.errors import SnapshotError
from flows.jobs.models.replay import ModelReplays
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine

_NEAREST = 8  # model messages that are tried; the artifacts of older ones may be gone

_log = logging.getLogger("driftline.explain")


class ScoringModel(NamedTuple):
    """A model of the version that scored; `reproduced` says that it gives the served score, bit for bit."""

    model: Model
    reproduced: bool


class ModelPlace(NamedTuple):
    """Where on the models topic a model is, which had learned so many events at a time (ms)."""

    version: str
    learned: int
    time: int
    partition: int
    offset: int


class ScoringModels:
    """Finds the models that scored predictions of a pipeline."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._pipeline = engine.pipeline
        self._broker = broker
        self._sealer = engine.sealer()

    @cached_property
    def _replays(self) -> ModelReplays:
        return ModelReplays(self._engine, self._broker)

    @cached_property
    def _announced(self) -> list[ModelPlace]:
        return list(_announcements(self._pipeline, self._broker, self._sealer))

    def find(self, served: ServedPrediction, features: Features) -> ScoringModel:
        """Return the model that scored, or the one of its version nearest to it; raises `SnapshotError`."""
        nearest: Model | None = None
        for model in self._models_near(served):
            if served.learned in (None, model.learned) and _gives(model, features, served.prediction.score):
                return ScoringModel(model, reproduced=True)
            nearest = nearest or model
            if model.learned != served.learned:
                break  # the next ones are further away
        return self._replayed(served, features) or _unreproduced(self._pipeline, served, nearest)

    def _replayed(self, served: ServedPrediction, features: Features) -> ScoringModel | None:
        """Return the model, computed from a registered state and the logged labels; None if that fails."""
        if served.learned is None:
            return None
        try:
            model = self._replays.model(served.prediction.version, served.learned)
        except SnapshotError as fault:
            _log.info("%s: the model that scored cannot be computed again: %s", served.prediction.id, fault)
            return None
        is_same = _gives(model, features, served.prediction.score)
        return ScoringModel(model, reproduced=True) if is_same else None

    def _models_near(self, served: ServedPrediction) -> Iterator[Model]:
        """Yield the models of the version that scored, the nearest first; the untrained one is declared."""
        if served.learned == 0:
            yield self._pipeline.new_model(served.prediction.version)
        for place in _nearest(self._announced, served):
            partition = TopicPartition(self._pipeline.topic("models"), place.partition)
            for records in read_range(self._broker, partition, place.offset, place.offset + 1):
                for record in records:
                    with suppress(SnapshotError):  # its artifact is gone
                        yield self._sealer.load(self._sealer.announced(record))


def _gives(model: Model, features: Features, score: Score) -> bool:
    """Return whether the model gives this score, to the last bit."""
    try:
        return model.score(features) == score
    except Exception:  # an estimator is user code; the explanation names the error
        return False


def _unreproduced(pipeline: Pipeline, served: ServedPrediction, nearest: Model | None) -> ScoringModel:
    if nearest is None:
        raise SnapshotError(
            f"topic {pipeline.topic('models')!r} must have a message of model {served.prediction.version}, "
            "signed with this project's secret, got none that can be read; explain a later prediction"
        )
    return ScoringModel(nearest, reproduced=False)


def _nearest(announced: Sequence[ModelPlace], served: ServedPrediction) -> list[ModelPlace]:
    """Return the nearest messages of the version, then the newest, whose artifact is not deleted."""

    def distance(place: ModelPlace) -> int:
        if served.learned is None:
            return abs(place.time - served.prediction.time)
        return abs(place.learned - served.learned)

    of_version = [each for each in announced if each.version == served.prediction.version]
    return [*sorted(of_version, key=distance)[:_NEAREST], *of_version[-1:]]


def _announcements(pipeline: Pipeline, broker: Broker, sealer: Sealer) -> Iterator[ModelPlace]:
    """Yield the places of the models on the pipeline's models topic whose signature is valid."""
    for record in read_since(broker, pipeline.topic("models"), 0):
        with suppress(SnapshotError):  # the predict flow writes a dead letter
            found = sealer.announced(record)
            is_ours = found.pipeline == pipeline.name and found.task == pipeline.task
            if is_ours and found.role != "candidate":
                yield ModelPlace(found.version, found.learned, found.time, record.partition, record.offset)
