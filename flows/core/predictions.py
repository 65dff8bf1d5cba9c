"""Predictions as they stand on the predictions topic."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from flows.core.broker import Headers, Outgoing, Record
from flows.core.models import Prediction
from flows.core.schema import Field, Number, Text, Time, check, iso, milliseconds
from flows.errors import InvalidRecord

_ID = Text(longest=2**20)  # as long as a declaration may allow
_FIELDS: dict[str, Field] = {"id": _ID, "time": Time(), "score": Number(), "model": _ID}
PUBLISHED_AT = (
    "published-at"  # header of an event and its prediction: microseconds since 1970, by the publisher's clock
)


class Asked(NamedTuple):
    """Where and when a question was asked.

    `keys` are the event's values of the plan's entities; `read` and `moment` are those of
    `flows.core.features.Question`.
    """

    keys: Sequence[str | None] = ()
    read: Sequence[int] = ()
    moment: int = 0


def encode(
    topic: str, partition: int, prediction: Prediction, plan: str, asked: Asked, headers: Headers = ()
) -> Outgoing:
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
            "keys": asked.keys,
            "at": asked.read,
            "moment": asked.moment,
            "features": prediction.features,
        }
    )
    return Outgoing(topic, value, key, partition, prediction.time, (("id", key), *headers))


def decode(record: Record) -> Prediction:
    """The prediction that `encode` wrote; raises `InvalidRecord` ("schema") for anything else."""
    try:
        raw = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("schema", f"not a prediction: {error}") from None
    check(raw, _FIELDS)
    shadows, features = raw.get("shadows"), raw.get("features")
    if type(shadows) is not dict or type(features) is not list:
        raise InvalidRecord("schema", "not a prediction: 'shadows' or 'features' is missing")
    check(shadows, dict.fromkeys(shadows, Number()))
    return Prediction(raw["id"], milliseconds(raw["time"]), raw["score"], raw["model"], shadows, features)
