"""Single predictions as records of the predictions topic."""

from types import SimpleNamespace

from flows.core.features.batch import Question
from flows.core.models.model import Prediction
from flows.core.serving import prediction_message
from flows.core.serving.prediction_message import AnsweredBatch, Asked
from flows.core.stream.broker import Headers, Outgoing, Record

NOWHERE = Asked()


def encode(
    topic: str,
    partition: int,
    prediction: Prediction,
    plan: str,
    asked: Asked = NOWHERE,
    headers: Headers = (),
    learned: int = 0,
) -> Outgoing:
    """The record of a prediction by the feature plan with the hash `plan`."""
    keys = {f"entity {number}": key for number, key in enumerate(asked.keys)}
    question = Question(prediction.id, prediction.time, keys, asked.moment, tuple(asked.read))
    record = Record("events", partition, 0, prediction.time, None, None, headers)
    batch = AnsweredBatch(
        [question],
        [record],
        [prediction.version],
        [learned],
        [prediction.score],
        [prediction.shadows],
        [prediction.features],
    )
    (out,) = prediction_message.encode(topic, SimpleNamespace(hash=plan, entities=[*keys]), batch)
    return out
