"""Sends events to Kafka at a steady rate and measures the time until the answer of each is read."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

_IDLE = 0.2  # seconds that the reader waits for an answer before it looks whether it should end


class Probe:
    """Sends events to a topic, and reads answers with their ids from another; each has one partition.

    `sent` and `arrived` map ids to the seconds (monotonic) at which the event was sent and its answer read.
    """

    def __init__(self, address: str, events: str, answers: str) -> None:
        self.sent: dict[str, float] = {}
        self.arrived: dict[str, float] = {}
        self._events = events
        self._producer = Producer({"bootstrap.servers": address, "linger.ms": 0})
        self._consumer = Consumer(
            {"bootstrap.servers": address, "group.id": f"probe-{uuid4()}", "fetch.wait.max.ms": 1}
        )
        self._consumer.assign([TopicPartition(answers, 0, 0)])
        self._end = threading.Event()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read answers during the block."""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            yield
        finally:
            self._end.set()
            reader.join()
            self._consumer.close()

    def send(self, event: Mapping[str, Any]) -> None:
        """Send one event."""
        name = event["id"]
        self.sent[name] = time.perf_counter()
        self._producer.produce(self._events, orjson.dumps(event), name.encode(), 0)
        self._producer.poll(0)

    def send_all(self, events: Iterable[Mapping[str, Any]], rate: float, each: Callable[[], None]) -> None:
        """Send the events at `rate` per second, and call `each` after every one."""
        began = time.perf_counter()
        for number, event in enumerate(events):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            self.send(event)
            each()
        self._producer.flush()

    def latencies(self, ids: Iterable[str]) -> list[float]:
        """Return the latencies (ms) of the answered ones among the events."""
        return [(self.arrived[name] - self.sent[name]) * 1000 for name in ids if name in self.arrived]

    def _read(self) -> None:
        while not self._end.is_set():
            message = self._consumer.poll(_IDLE)
            if message is not None and message.error() is None:
                self.arrived.setdefault(orjson.loads(message.value())["id"], time.perf_counter())


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile.

    >>> percentile([3, 1, 2], 0.5), percentile([3, 1, 2], 1)
    (2, 3)
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
