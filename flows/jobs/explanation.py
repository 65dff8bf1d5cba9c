"""Explains a prediction that was served: finds it, the rows before it and the model that scored it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from flows.core.explaining.explanation import Explanation, explain
from flows.core.features.plan import FeaturePlan
from flows.core.models.tasks import Features
from flows.core.serving.prediction_message import ServedPrediction, decode_served
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.times import iso
from flows.errors import ConfigError, InvalidRecord
from flows.jobs.models.scoring import ScoringModel, ScoringModels
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine

BACKGROUND = 100  # rows, served before the prediction, that it is compared with


class FoundPrediction(NamedTuple):
    """A prediction, and the features that were served before it, or after it if there are too few."""

    served: ServedPrediction
    features: Features
    background: Sequence[Features]


class ExplainedPrediction(NamedTuple):
    """A prediction, the model that it is explained with, and the explanation."""

    served: ServedPrediction
    model: ScoringModel
    explanation: Explanation


class Explainer:
    """Finds predictions of a pipeline, computes the models that scored them, and explains them."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._pipeline = engine.pipeline
        self._plan = engine.state.plan()
        self._broker = broker
        self._models = ScoringModels(engine, broker)

    def find(self, event_ids: Sequence[str], advance: Callable[[int], None]) -> list[FoundPrediction]:
        """Return the predictions for events; `advance` counts the predictions searched.

        They are in the order in which their models learned, which is the cheapest to explain. Raises
        `ConfigError` if there is no such prediction, or it has other features than the plan.
        """
        topic = self._pipeline.topic("predictions")
        missing = {event_id.encode() for event_id in event_ids}
        found: list[FoundPrediction] = []
        for number, (start, end) in enumerate(self._broker.offsets(topic)):
            batches = read_range(self._broker, TopicPartition(topic, number), start, end)
            for record, neighbours in _with_neighbours(_counted(batches, advance), missing):
                found.append(_decoded(self._pipeline, self._plan, record, neighbours))
        if missing:
            raise ConfigError(
                f"EVENT_ID must be the id of an event with a prediction on topic {topic!r}, got "
                f"{min(missing).decode()!r}; `driftline tail predictions --from-start` shows the predictions"
            )
        return sorted(found, key=lambda each: (each.served.prediction.version, each.served.learned or 0))

    def explain(self, found: FoundPrediction) -> ExplainedPrediction:
        """Explain a prediction with the model that scored it, or with the nearest one of its version.

        Raises `SnapshotError` if no model of the version is left, and `ConfigError` if the model fails on a
        mix of served features.
        """
        scoring = self._models.find(found.served, found.features)
        explanation = explain(scoring.model, found.features, found.background)
        return ExplainedPrediction(found.served, scoring, explanation)


def summary(explained: ExplainedPrediction, top: int) -> dict[str, Any]:
    """Return everything as plain data for JSON; all contributions, so that they add up."""
    served, scoring, found = explained
    prediction = served.prediction
    return {
        "event": prediction.id,
        "time": iso(prediction.time),
        "model": prediction.version,
        "learned": served.learned,
        "score": prediction.score,
        "explained_with": {"learned": scoring.model.learned, "reproduced": scoring.reproduced},
        "method": found.method,
        "exact": found.method != "sampling",
        "unit": found.unit,
        "output": found.output,
        "base": found.base,
        "background": found.rows,
        "contributions": [
            {
                "feature": c.feature,
                "value": c.value,
                "contribution": c.contribution,
                "standard_error": c.error,
            }
            for c in found.contributions
        ],
        "alternatives": [each._asdict() for each in found.alternatives[:top]],
        "scores": found.scores,
    }


def _counted(batches: Iterator[list[Record]], advance: Callable[[int], None]) -> Iterator[Record]:
    for records in batches:
        yield from records
        advance(len(records))


def _with_neighbours(
    records: Iterator[Record], missing: set[bytes]
) -> Iterator[tuple[Record, Sequence[Record]]]:
    """Yield the records with the missing keys, each with up to `BACKGROUND` others; empties `missing`.

    The others are those before it, then those after it.
    """
    before: deque[Record] = deque(maxlen=BACKGROUND)
    incomplete: list[tuple[Record, list[Record]]] = []
    for record in records:
        for _, neighbours in incomplete:
            neighbours.append(record)
        while incomplete and len(incomplete[0][1]) >= BACKGROUND:
            yield incomplete.pop(0)
        if record.key in missing:
            missing.remove(record.key)
            incomplete.append((record, [*reversed(before)]))
        if not missing and not incomplete:
            return
        before.append(record)
    yield from incomplete


def _decoded(
    pipeline: Pipeline, plan: FeaturePlan, record: Record, neighbours: Sequence[Record]
) -> FoundPrediction:
    """Return the prediction and the neighbours that have the features of the plan."""
    names = pipeline.feature_names(plan)
    try:
        served = decode_served(record)
    except InvalidRecord as fault:
        raise ConfigError(
            f"the prediction was not written by the engine: {fault}; name another event"
        ) from None
    if not _is_of_plan(served, plan, names):
        raise ConfigError(
            f"the prediction must have the features of the plan {plan.hash}, got plan {served.plan}; explain "
            "it with the declaration of that time, after `driftline apply`"
        )
    background = [_named(names, other) for other in _valid(neighbours) if _is_of_plan(other, plan, names)]
    if not background:
        raise ConfigError(
            "a prediction is compared with others of the same plan, and there are none; publish more events"
        )
    return FoundPrediction(served, _named(names, served), background)


def _valid(records: Sequence[Record]) -> Iterator[ServedPrediction]:
    for record in records:
        with suppress(InvalidRecord):
            yield decode_served(record)


def _is_of_plan(served: ServedPrediction, plan: FeaturePlan, names: Sequence[str]) -> bool:
    return served.plan == plan.hash and len(served.prediction.features) == len(names)


def _named(names: Sequence[str], served: ServedPrediction) -> Features:
    return dict(zip(names, served.prediction.features, strict=True))
