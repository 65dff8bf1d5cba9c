"""Predictions as records of the predictions topic."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
from msgspec import Meta

from flows.core.features.batch import Question
from flows.core.features.plan import FeaturePlan
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.stream.broker import Headers, Outgoing, Record
from flows.core.stream.checker import check
from flows.core.stream.fields import Field, Number, Text, Time
from flows.core.stream.times import iso, milliseconds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

_ID = Text(longest=2**20)  # the longest id that a declaration can allow
_TIME = Time()
_FIELDS: dict[str, Field] = {"id": _ID, "time": _TIME, "model": _ID}
_SCORE = Number()
_PLAN = Text()
_SERVED_FIELDS: dict[str, Field] = {
    "plan": _PLAN,
    "moment": Number(0, 2**62),
    "learned": Number(0, 2**62, required=False),
}
# header of an event and its prediction: microseconds since 1970, by the publisher's clock
PUBLISHED_AT = "published-at"


class Asked(NamedTuple):
    """Where and when a question was asked.

    `keys` are the event's keys of the plan's entities; `read` and `moment` are those of
    `flows.core.features.batch.Question`.
    """

    keys: Sequence[str | int | None] = ()
    read: Sequence[int] = ()
    moment: int = 0


class AnsweredBatch(NamedTuple):
    """Answers in columns; `records` are those of the questions.

    `versions` are those of the models that answered, `learned` the numbers of events that these had learned.
    """

    questions: Sequence[Question]
    records: Sequence[Record]
    versions: Sequence[str]
    learned: Sequence[int]
    scores: Sequence[Score]
    shadows: Sequence[Mapping[str, Score]]
    features: Sequence[Sequence[Any]]


def encode(topic: str, plan: FeaturePlan, batch: AnsweredBatch) -> list[Outgoing]:
    """Return the records of predictions; the key is the event's id, by which it is written once."""
    dumps, digest = orjson.dumps, plan.hash
    keys = _keys(batch.questions, plan.entities)
    out = []
    for question, record, version, learned, score, shadows, features, of_entities in zip(
        batch.questions,
        batch.records,
        batch.versions,
        batch.learned,
        batch.scores,
        batch.shadows,
        batch.features,
        keys,
        strict=True,
    ):
        event_id, time, _, moment, read, _ = question
        message = dumps(
            {
                "id": event_id,
                "time": iso(time),
                "score": score,
                "model": version,
                "learned": learned,
                "shadows": shadows,
                "plan": digest,
                "keys": of_entities,
                "at": read,
                "moment": moment,
                "features": features,
            }
        )
        value = b"".join((message, b""))  # a copy: what `dumps` returns keeps its buffer's 4 KB from others
        headers = _published(record.headers) if record.headers else ()
        out.append(_tuple(Outgoing, (topic, value, event_id.encode(), record.partition, time, headers)))
    return out


def _keys(questions: Sequence[Question], entities: Sequence[str]) -> Sequence[Sequence[Any]]:
    """Return each event's keys of the entities; None for a missing one."""
    if not entities:
        return [()] * len(questions)
    columns = [[question.payload.get(entity) for question in questions] for entity in entities]
    return list(zip(*columns, strict=True))


def _published(headers: Headers) -> Headers:
    return tuple([header for header in headers if header[0] == PUBLISHED_AT])


class ServedPrediction(NamedTuple):
    """A prediction, the hash of its feature plan, and where and when it was asked.

    `learned` is the number of events that the champion had learned; None in a prediction of Driftline 0.2.0.
    """

    prediction: Prediction
    plan: str
    asked: Asked
    learned: int | None


_Name = Annotated[str, Meta(min_length=1, max_length=_ID.longest)]
_Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Real = Annotated[float, Meta(ge=_SCORE.low, le=_SCORE.high)]
_Score = _Whole | _Real | dict[str, _Whole | _Real]


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The JSON of a prediction as `encode` writes it, checked while it is parsed."""

    id: _Name
    time: str
    score: _Score
    model: _Name
    shadows: dict[str, _Score]
    features: list[_Whole | float | str | bool | None]
    learned: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    plan: Annotated[str, Meta(min_length=1, max_length=_PLAN.longest)] | None = None
    keys: list[str | _Whole | None] | None = None
    at: list[Any] | None = None
    moment: Annotated[int, Meta(ge=0, le=2**62)] | None = None


_parse_message = msgspec.json.Decoder(_Message).decode


def decode(record: Record) -> Prediction:
    """Return the prediction that `encode` wrote; raises `InvalidRecord` ("schema") for anything else."""
    try:
        return _served(_parse_message(record.value or b""))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _prediction(_parse(record))  # it names the fault


def decode_batch(records: Sequence[Record]) -> list[Prediction | InvalidRecord]:
    """Return the prediction in each record, or the fault of one that `decode` refuses."""
    found: list[Prediction | InvalidRecord] = []
    parse, served = _parse_message, _served
    for record in records:
        try:
            found.append(served(parse(record[5] or b"")))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found.append(_decoded_or_fault(record))
    return found


def _decoded_or_fault(record: Record) -> Prediction | InvalidRecord:
    try:
        return _prediction(_parse(record))  # it names the fault
    except InvalidRecord as fault:
        return fault


def decode_served(record: Record) -> ServedPrediction:
    """Return everything that `encode` wrote; raises `InvalidRecord` ("schema") for anything else."""
    try:
        message = _parse_message(record.value or b"")
        prediction = _served(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _decode_slowly(record)
    plan, keys, read, moment = message.plan, message.keys, message.at, message.moment
    if plan is None or keys is None or read is None or moment is None:
        return _decode_slowly(record)
    return ServedPrediction(prediction, plan, Asked(keys, read, moment), message.learned)


def _served(message: _Message) -> Prediction:
    """Return the prediction of a message; raises `ValueError` for an invalid time."""
    time, score, shadows = milliseconds(message.time), message.score, message.shadows
    return _tuple(Prediction, (message.id, time, score, message.model, shadows, message.features))


def _decode_slowly(record: Record) -> ServedPrediction:
    """Decode a message that is unusual or invalid; raises `InvalidRecord`, which names the fault."""
    raw = _parse(record)
    check(raw, _SERVED_FIELDS)
    keys, read, moment, learned = raw.get("keys"), raw.get("at"), raw["moment"], raw.get("learned")
    if type(keys) is not list or type(read) is not list or type(moment) is not int:
        raise InvalidRecord("schema", "not a prediction: 'keys', 'at' or 'moment' is missing")
    if type(learned) not in (int, NoneType):
        raise InvalidRecord("schema", f"'learned' must be a whole number, got {learned}")
    if not all(key is None or type(key) in (str, int) for key in keys):
        raise InvalidRecord("schema", "each of the 'keys' must be a string, an integer or null")
    return ServedPrediction(_prediction(raw), raw["plan"], Asked(keys, read, moment), learned)


def _parse(record: Record) -> Any:
    try:
        raw = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("schema", f"not a prediction: {error}") from None
    check(raw, _FIELDS)
    return raw


def _prediction(raw: dict[str, Any]) -> Prediction:
    shadows, features = raw.get("shadows"), raw.get("features")
    if type(shadows) is not dict or type(features) is not list:
        raise InvalidRecord("schema", "not a prediction: 'shadows' or 'features' is missing")
    for score in (raw.get("score"), *shadows.values()):
        _check_score(score)
    return Prediction(raw["id"], _TIME.read(raw["time"]), raw["score"], raw["model"], shadows, features)


def _check_score(score: Any) -> None:
    numbers = score if type(score) is dict else {"score": score}
    check(numbers, dict.fromkeys(numbers, _SCORE))
