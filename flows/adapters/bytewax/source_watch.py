"""What a source checks from time to time: the wall clock, and how its topics change."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing

from flows.adapters.bytewax.observer import FlowObserver
from flows.core.stream.broker import Broker, TopicPartition
from flows.core.stream.drain import Drain
from flows.errors import AccessDenied, BrokerError, UnknownTopic

_CHECK_EVERY = 5.0  # seconds
_TOLERANCE = 0.5  # seconds that the wall clock may be set back; timers are late by at most that


class ClockWatch:
    """Detects that the wall clock was set back, by comparing it with the monotonic clock.

    The timers of Bytewax's steps follow the wall clock, so they would be late by as much as it was set back.
    A step sets its timer again when a batch arrives; the source then sends an empty one.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def was_set_back(self) -> bool:
        """Return whether the clock was set back since the last call."""
        before, self._offset = self._offset, time.time() - time.monotonic()
        return self._offset < before - _TOLERANCE


class TopicWatch:
    """Reports the lag of a slot and drains the flow for new partitions, from a thread of its own.

    `counts` has the number of partitions of each topic when the flow started, `offsets` the slot's next
    offsets, which the slot advances. The thread has a broker of its own, because the embedded log must be
    used by the thread that opened it.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        counts: Mapping[str, int],
        offsets: Mapping[TopicPartition, int],
        observer: FlowObserver,
        drain: Drain,
    ) -> None:
        self._open_broker = open_broker
        self._counts = counts
        self._offsets = offsets
        self._observer = observer
        self._drain = drain
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topic-watch", daemon=True)
        self._thread.start()

    def raise_failure(self) -> None:
        """Raise `AccessDenied` or `UnknownTopic` if a check did.

        Any other broker error counts as no change: an outage does not end the flow.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with closing(self._open_broker()) as broker:
                    while not self._closed.is_set():
                        self._look(broker)
                        self._closed.wait(_CHECK_EVERY)
            except (AccessDenied, UnknownTopic) as failure:
                self._failure = failure
                return
            except BrokerError:
                self._closed.wait(_CHECK_EVERY)

    def _look(self, broker: Broker) -> None:
        """Report the lag, and drain the flow if a topic has more partitions than at the start."""
        ends = broker.ends(list(self._counts))
        for partition, offset in self._offsets.items():
            self._observer.lag(partition, ends[partition] - offset)
        for topic, count in self._counts.items():
            found = sum(partition.topic == topic for partition in ends)
            if found > count:
                self._observer.grown(topic, found)
                self._drain.set()
