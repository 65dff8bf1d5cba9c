"""Backpressure for `publish`: as fast as the flows keep up within a bound of event time."""

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, Protocol

from flows.core.features.plan import LATENESS
from flows.core.stream.broker import Broker
from flows.core.stream.times import in_milliseconds
from flows.host.patience import Patience, Stall
from flows.jobs.publishing.pace import Ends
from flows.jobs.publishing.steady_producer import retry_while_away
from flows.pipeline import Pipeline

LOOSEST = timedelta(hours=6)  # the default bound for long label delays, and without labels
TIGHTEST = timedelta(seconds=1)
_BOUNDS_IN_DELAY = 8
_CHUNKS_IN_BOUND = 8
_POLL = 0.002  # seconds between two reads of the flows' offsets
_STOPPED = 60.0  # seconds to wait for a flow that is not running
_STUCK = 600.0  # seconds to wait for a running flow that makes no progress


class _Sent(NamedTuple):
    """A chunk of one topic, and the flow that reads it."""

    time: int  # of its first record (ms)
    flow: str
    topic: str
    ends: dict[int, int]  # the offset after the chunk, by partition


class Models(Protocol):
    """Which labels the served model has learned."""

    def has_learned(self, label_time: int) -> bool:
        """Return whether the served model has learned the labels up to `label_time` (ms).

        The learner must have read them.
        """


class BoundedLag:
    """Keeps the flows' lag behind the publisher within `bound` ms of event time, by their committed offsets.

    With `models`, the labels that the served model has not learned count as lag too. `runs` says whether a
    flow is running.
    """

    def __init__(
        self,
        broker: Broker,
        pipeline: Pipeline,
        bound: int,
        patience: Patience,
        runs: Callable[[str], bool],
        models: Models | None = None,
    ) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._bound = bound
        self._patience = patience
        self._runs = runs
        self._models = models
        self._readers = {pipeline.events.topic: "predict", pipeline.labels.topic: "learn"}
        self._unread: dict[str, deque[_Sent]] = {topic: deque() for topic in self._readers}
        self._lagging: _Sent | None = None

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Return whether the oldest record unread or `held` back lags `event_time` by the bound at most."""
        while (chunks := self._oldest()) and event_time - chunks[0].time > self._bound:
            if not self._is_done(chunks[0]):
                return False
            chunks.popleft()
        return held is None or event_time - held <= self._bound

    def rest(self) -> None:
        """Wait a moment; raise `DriftlineError` when the flows make no progress for too long."""
        self._patience.wait(_POLL, self._stall)

    def answered(self, ends: Ends) -> bool:
        """Return whether the predictor has read the events up to `ends`."""
        topic = self._pipeline.events.topic
        return self._is_read(_Sent(0, "predict", topic, _of_topic(topic, ends)))

    def sent(self, first: int, ends: Ends) -> None:
        """Note that records were sent up to `ends`, the first of them at event time `first` (ms)."""
        self._patience.moved()
        for topic, flow in self._readers.items():
            if of_topic := _of_topic(topic, ends):
                self._unread[topic].append(_Sent(first, flow, topic, of_topic))

    def _oldest(self) -> deque[_Sent] | None:
        """Return the topic's chunks of which the first is the oldest of all; labels follow newer events."""
        waiting = [chunks for chunks in self._unread.values() if chunks]
        return min(waiting, key=lambda chunks: chunks[0].time, default=None)

    def _is_done(self, sent: _Sent) -> bool:
        """Return whether the flow has read the chunk and, of labels, the served model has learned them."""
        if not self._is_read(sent):
            return False
        return sent.flow != "learn" or self._models is None or self._models.has_learned(sent.time)

    def _is_read(self, sent: _Sent) -> bool:
        group = self._pipeline.group(sent.flow)
        committed = retry_while_away(self._patience, lambda: self._broker.committed(group, sent.topic))
        if all(committed.get(partition, 0) >= end for partition, end in sent.ends.items()):
            self._patience.moved()
            return True
        self._lagging = sent
        return False

    def _stall(self) -> Stall:
        if self._lagging is None:
            return Stall("the flows make no progress; check their logs", _STUCK)
        flow, topic = self._lagging.flow, self._lagging.topic
        if self._runs(flow):
            return Stall(f"{flow} is running but does not read topic {topic!r}; check its log", _STUCK)
        return Stall(
            f"{flow} is not running and has not read topic {topic!r}; start `driftline run`, or publish by "
            "the clock with --speed-up",
            _STOPPED,
        )


def _of_topic(topic: str, ends: Ends) -> dict[int, int]:
    return {partition.partition: end for partition, end in ends.items() if partition.topic == topic}


def default_bound(delay: int | None) -> int:
    """Return an eighth of the median label delay, from a second to six hours; all in ms of event time."""
    loosest, tightest = in_milliseconds(LOOSEST), in_milliseconds(TIGHTEST)
    if delay is None:
        return loosest
    return min(max(delay // _BOUNDS_IN_DELAY, tightest), loosest)


def default_step(bound: int) -> int:
    """Return the event time (ms) that one chunk spans when the lag is bounded by `bound` ms."""
    return max(1, min(bound // _CHUNKS_IN_BOUND, LATENESS))
