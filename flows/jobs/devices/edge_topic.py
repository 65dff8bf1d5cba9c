"""The topic of the predictions of devices, each of which is written once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from flows.core.stream.broker import Broker, Outgoing, TopicSpec, read_since
from flows.core.stream.times import milliseconds
from flows.errors import BrokerError, InvalidRecord
from flows.pipeline import Pipeline

_LARGEST = 2**18  # bytes of a prediction

_KINDS: dict[str, tuple[type, ...]] = {
    "number": (int,),
    "id": (str, int),
    "time": (str,),
    "score": (float, int),
    "model": (str,),
    "learned": (int,),
    "plan": (str,),
    "features": (list,),
}


class DevicePrediction(NamedTuple):
    """A prediction of a device: its number there, the time (ms) on the device, and the whole message."""

    number: int
    id: str
    time: int
    message: dict[str, Any]


class EdgeTopic:
    """Appends predictions to the topic `PIPELINE.edge`, which it creates if it is missing.

    A device numbers its predictions. The topic itself tells which were written, also after a crash between
    the write and the answer, so it is read once in the beginning and after each fault. There must be one
    writer. Several threads may call it; one thread of its own uses the broker. Raises `BrokerError`.
    """

    def __init__(self, open_broker: Callable[[], Broker], pipeline: Pipeline) -> None:
        self.pipeline = pipeline.name
        self.name = f"{pipeline.name}.edge"
        self._open_broker = open_broker
        self._writer: _Writer | None = None
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._opened).result()

    def append(self, device: str, predictions: Sequence[DevicePrediction]) -> int:
        """Write those that are new; return the number after the last one. Raises `BrokerError`."""
        return self._thread.submit(self._append, device, predictions).result()

    def close(self) -> None:
        """Close the connection."""
        self._thread.submit(self._forget).result()
        self._thread.shutdown()

    def _append(self, device: str, predictions: Sequence[DevicePrediction]) -> int:
        try:
            return self._opened().append(device, predictions)
        except BrokerError:
            self._forget()
            raise

    def _opened(self) -> "_Writer":
        if self._writer is None:
            self._writer = _Writer(self._open_broker(), self.name)
        return self._writer

    def _forget(self) -> None:
        """Close the connection, whose last records may or may not be written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(BrokerError):
                writer.close()


class _Writer:
    """Knows the next number of each device, as far as its connection works."""

    def __init__(self, broker: Broker, topic: str) -> None:
        broker.create_topics([TopicSpec(topic)])
        self._broker = broker
        self._topic = topic
        self._next = _written(broker, topic)
        self._producer = broker.producer()

    def append(self, device: str, predictions: Sequence[DevicePrediction]) -> int:
        expected = self._next.get(device, 0)
        new = [each for each in predictions if each.number >= expected]
        if new:
            self._producer.send([_record(self._topic, device, each) for each in new])
            self._next[device] = expected = new[-1].number + 1
        return expected

    def close(self) -> None:
        try:
            self._producer.close()
        finally:
            self._broker.close()


def _written(broker: Broker, topic: str) -> dict[str, int]:
    """Return the next number of each device, from the topic."""
    following: dict[str, int] = {}
    for record in read_since(broker, topic, 0):
        headers = dict(record.headers)
        device, number = headers.get("device"), headers.get("number")
        if device and number:
            name = device.decode()
            following[name] = max(following.get(name, 0), int(number) + 1)
    return following


def parse(body: bytes) -> list[DevicePrediction]:
    """Return the predictions in lines of JSON, in the order of their numbers.

    Raises `InvalidRecord` for anything that `driftline-edge` does not send.
    """
    found = list(_parsed(body))
    numbers = [each.number for each in found]
    if not found or numbers != sorted(set(numbers)):
        raise InvalidRecord("schema", "the lines must be predictions with increasing numbers")
    return found


def _parsed(body: bytes) -> Iterator[DevicePrediction]:
    for line in body.splitlines():
        try:
            raw = orjson.loads(line)
            time = milliseconds(raw["time"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRecord("schema", f"a line must be a prediction of a device: {error}") from None
        if raw.keys() != _KINDS.keys() or len(line) > _LARGEST:
            raise InvalidRecord("schema", f"a prediction must have the fields {', '.join(_KINDS)}")
        for name, kinds in _KINDS.items():
            if type(raw[name]) not in kinds:
                raise InvalidRecord("schema", f"{name!r} must be {kinds[0].__name__}, got {raw[name]!r}")
        if any(isinstance(value, list | dict) for value in raw["features"]):
            raise InvalidRecord("schema", "'features' must be a list of single values")
        if raw["number"] < 1:
            raise InvalidRecord("schema", f"'number' must be at least 1, got {raw['number']}")
        yield DevicePrediction(raw["number"], str(raw["id"]), time, raw)


def _record(topic: str, device: str, prediction: DevicePrediction) -> Outgoing:
    headers = (("device", device.encode()), ("number", str(prediction.number).encode()))
    value = orjson.dumps({"device": device, **prediction.message})
    return Outgoing(topic, value, prediction.id.encode(), 0, prediction.time, headers)
