"""Reads topics in a thread, for as long as the server runs."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from flows.core.stream.broker import Broker, Record, TopicPartition
from flows.errors import BrokerError

_POLL = 0.2  # seconds; also how long `stop` may take
_RETRY = 1.0  # seconds after the broker failed
_MOST = 1000  # records at once
_PATIENCE = 5.0  # seconds
CLOSELY = 120.0  # seconds, longer than a request waits for its answer
PAUSE = 1.0  # seconds

_log = logging.getLogger("driftline.serve")

Handler = Callable[[Sequence[Record]], None]
Starts = Callable[[Broker], Mapping[TopicPartition, int]]


class TopicFollower:
    """Passes the records of topics to their handlers, from the offsets of `starts` on.

    If the broker fails, it is opened again, and reading goes on after the last record. The
    handlers are called in the thread that reads, in their order: who gets a record of a later topic finds
    what was on an earlier one before it.

    It reads a record at once for `CLOSELY` after a request, and otherwise pauses for `PAUSE` between two
    reads: few large ones cost less, and leave the processor to the flows.
    """

    def __init__(
        self, open_broker: Callable[[], Broker], starts: Starts, handlers: Mapping[str, Handler]
    ) -> None:
        self._open_broker = open_broker
        self._starts = starts
        self._handlers = handlers
        self._positions: dict[TopicPartition, int] = {}
        self._stopped = threading.Event()
        self._asked = threading.Event()
        self._close = threading.Event()
        self._closely_until = 0.0
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.fault: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._asked.set()
        self._thread.join()

    @property
    def is_caught_up(self) -> bool:
        """Whether the follower has read what was there at its start."""
        return self._caught_up.is_set()

    @property
    def is_close(self) -> bool:
        """Whether the follower has read all that there was, and reads a record at once."""
        return self._close.is_set()

    def ask(self) -> None:
        """Follow closely from now on, since a request needs what is on the topics."""
        self._closely_until = time.monotonic() + CLOSELY
        self._asked.set()

    def await_close(self) -> bool:
        """Return whether the follower is close, after a wait of some seconds at most."""
        return self._close.wait(_PATIENCE)

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
                if not any(map(consumer.has_backlog, self._positions)):
                    self._pause()

    def _pause(self) -> None:
        """Wait until somebody asks, for `PAUSE` at most; return at once if somebody asked lately."""
        self._asked.clear()
        if time.monotonic() <= self._closely_until:
            self._close.set()
        elif not self._stopped.is_set():
            self._close.clear()
            self._asked.wait(PAUSE)

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
    return tail_starts(topic, broker.offsets(topic), count)


def tail_starts(topic: str, bounds: Sequence[tuple[int, int]], count: int) -> dict[TopicPartition, int]:
    """Return where the last `count` records begin in partitions with these first and end offsets."""
    return {
        TopicPartition(topic, number): max(first, end - count) for number, (first, end) in enumerate(bounds)
    }
