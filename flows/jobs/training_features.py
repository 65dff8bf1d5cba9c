"""Where the features of a training set come from: the predictions, or Feast's point-in-time join."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from flows.adapters.sqlite.by_id import ById
from flows.core.features.plan import FeaturePlan
from flows.core.models.tasks import Truth
from flows.core.serving.prediction_message import ServedPrediction
from flows.core.stream.broker import Broker, read_since
from flows.core.stream.fields import KeyKind
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline, Stream

if TYPE_CHECKING:
    from feast import FeatureStore

    from flows.adapters.feast.history import FeastHistory

_JOINED = 2_000  # rows that Feast joins at once; it loads all history within their ttl


class Example(NamedTuple):
    """A prediction, and its label with the time (ms) at which it became known."""

    served: ServedPrediction
    label: Truth
    known_at: int


class FeatureSource(Protocol):
    """Gives the plan's features of examples."""

    def columns(self, examples: Sequence[Example]) -> list[list[Any]]:
        """Return one column for each feature name of the plan."""


class AsServed:
    """Gives the features as served, which follow the model's `inputs` in each prediction."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs

    def columns(self, examples: Sequence[Example]) -> list[list[Any]]:
        rows = [example.served.prediction.features[self._inputs :] for example in examples]
        return [list(column) for column in zip(*rows, strict=True)]


class ThroughFeast:
    """Gives the features that Feast joins from the offline store; `events` holds the payloads by id."""

    def __init__(self, history: "FeastHistory", events: ById) -> None:
        self._history = history
        self._events = events

    def columns(self, examples: Sequence[Example]) -> list[list[Any]]:
        pieces = [self._join(examples[at : at + _JOINED]) for at in range(0, len(examples), _JOINED)]
        return [list(chain.from_iterable(parts)) for parts in zip(*pieces, strict=True)]

    def _join(self, examples: Sequence[Example]) -> list[list[Any]]:
        payloads = self._events.get([example.served.prediction.id for example in examples])
        asked = [example.served.asked for example in examples]
        return self._history.columns(
            [each.keys for each in asked],
            [each.moment for each in asked],
            [orjson.loads(payload or b"{}") for payload in payloads],
        )


@contextmanager
def feast_source(
    pipeline: Pipeline, plan: FeaturePlan, store: "FeatureStore", broker: Broker, folder: Path
) -> Iterator[ThroughFeast]:
    """Open a source on Feast's offline store; the events that on-demand views read are kept in `folder`."""
    from flows.adapters.feast.history import FeastHistory  # imports Feast, which takes seconds

    with closing(ById(folder / "events.db")) as events:
        if plan.transforms:
            payloads = _payloads(pipeline.events, plan.key_kinds, broker)
            events.put_new(payloads)  # a duplicate event has no prediction
        yield ThroughFeast(FeastHistory(store, plan), events)


def _payloads(events: Stream, keys: Mapping[str, KeyKind], broker: Broker) -> Iterator[tuple[str, bytes]]:
    """Read the ids and payloads of the valid events; the others have no prediction."""
    decoder = events.decoder(keys)
    for record in read_since(broker, events.topic, 0):
        try:
            event = decoder.decode(record)
        except InvalidRecord:
            continue
        yield event.id, orjson.dumps(event.payload)
