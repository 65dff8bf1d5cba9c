"""Predictions as they stand on the predictions topic."""

from collections.abc import Sequence
from typing import Any

import orjson

from flows.core.broker import Headers, Outgoing, Record
from flows.core.models import Prediction
from flows.core.schema import iso, milliseconds

PUBLISHED_AT = (
    "published-at"  # header of an event and its prediction: microseconds since 1970, by the publisher's clock
)


def encode(topic: str, partition: int, prediction: Prediction, plan: str, headers: Headers = ()) -> Outgoing:
    """The record of a prediction; its `id` header is the event's id, so that it is written once.

    `plan` is the hash of the feature plan that names the features.
    """
    key = prediction.id.encode()
    value = orjson.dumps(
        {
            "id": prediction.id,
            "time": iso(prediction.time),
            "score": prediction.score,
            "model": prediction.version,
            "shadows": prediction.shadows,
            "plan": plan,
            "features": prediction.features,
        }
    )
    return Outgoing(topic, value, key, partition, prediction.time, (("id", key), *headers))


def decode(record: Record) -> Prediction:
    """The prediction that `encode` wrote."""
    raw: dict[str, Any] = orjson.loads(record.value or b"")
    features: Sequence[Any] = raw["features"]
    return Prediction(
        raw["id"], milliseconds(raw["time"]), raw["score"], raw["model"], raw["shadows"], features
    )
