"""Reads topics in a thread, for as long as the server runs."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from flows.core.stream.broker import Broker, Record, TopicPartition
from flows.errors import BrokerError

_POLL = 0.2  # seconds; also how long `stop` may take
_RETRY = 1.0  # seconds after the broker failed
_MOST = 1000  # records at once

_log = logging.getLogger("driftline.serve")

Handler = Callable[[Sequence[Record]], None]
Starts = Callable[[Broker], Mapping[TopicPartition, int]]


class TopicFollower:
    """Passes the records of topics to their handlers, from the offsets of `starts` on.

    If the broker fails, it is opened again, and reading goes on after the last record. The
    handlers are called in the thread that reads, in their order: who gets a record of a later topic finds
    what was on an earlier one before it.
    """

    def __init__(
        self, open_broker: Callable[[], Broker], starts: Starts, handlers: Mapping[str, Handler]
    ) -> None:
        self._open_broker = open_broker
        self._starts = starts
        self._handlers = handlers
        self._positions: dict[TopicPartition, int] = {}
        self._stopped = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.fault: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    @property
    def is_caught_up(self) -> bool:
        """Whether the follower has read what was there at its start."""
        return self._caught_up.is_set()

    def waits_for(self) -> str | None:
        """Return what the follower waits for; None while it keeps up with the topics."""
        if self.fault is not None:
            return self.fault
        return None if self.is_caught_up else "the topics are not read yet"

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(self._open_broker()) as broker:
                    self._follow(broker)
            except BrokerError as error:
                self.fault = str(error)
                _log.warning("%s; trying again", error)
                self._stopped.wait(_RETRY)

    def _follow(self, broker: Broker) -> None:
        self._positions = self._positions or dict(self._starts(broker))
        ends = broker.ends(list(self._handlers))
        with closing(broker.consumer("driftline.serve", self._positions)) as consumer:
            while not self._stopped.is_set():
                if not self._caught_up.is_set() and _has_reached(self._positions, ends):
                    self._caught_up.set()
                self._hand_out(consumer.poll(_MOST, _POLL))
                self._positions = {place: consumer.position(place) for place in self._positions}
                self.fault = None

    def _hand_out(self, records: Sequence[Record]) -> None:
        by_topic: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_topic[record.topic].append(record)
        for topic, handle in self._handlers.items():
            if topic in by_topic:
                handle(by_topic[topic])


def _has_reached(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> bool:
    return all(position >= ends.get(place, 0) for place, position in positions.items())


def last_records(broker: Broker, topic: str, count: int) -> dict[TopicPartition, int]:
    """Return the offsets where the last `count` records of each partition begin."""
    return {
        TopicPartition(topic, number): max(first, end - count)
        for number, (first, end) in enumerate(broker.offsets(topic))
    }
