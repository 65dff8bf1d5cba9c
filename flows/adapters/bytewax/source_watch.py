"""What a source checks from time to time: the wall clock, and how its topics change."""

import time
from collections.abc import Mapping

from flows.adapters.bytewax.observer import FlowObserver
from flows.core.stream.broker import Broker, TopicPartition
from flows.errors import AccessDenied, BrokerError, UnknownTopic

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
    """Reports the lag of a slot and detects new partitions.

    `counts` has the number of partitions of each topic when the flow started.
    """

    def __init__(self, broker: Broker, counts: Mapping[str, int], observer: FlowObserver) -> None:
        self._broker = broker
        self._counts = counts
        self._observer = observer

    def have_grown(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Report the lag behind `offsets`; return whether a topic has more partitions than at the start.

        Raises `AccessDenied` and `UnknownTopic`. Any other broker error counts as no change.
        """
        try:
            bounds = {topic: self._broker.offsets(topic) for topic in self._counts}
        except (AccessDenied, UnknownTopic):
            raise
        except BrokerError:
            return False  # an outage does not end the flow; the next call asks again
        for partition, offset in offsets.items():
            _, end = bounds[partition.topic][partition.partition]
            self._observer.lag(partition, end - offset)
        grown = [topic for topic, count in self._counts.items() if len(bounds[topic]) > count]
        for topic in grown:
            self._observer.grown(topic, len(bounds[topic]))
        return bool(grown)
