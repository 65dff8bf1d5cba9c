"""A pace for `publish`: as fast as the flows keep up, so that a replay is served as live events are."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from flows.core.features.plan import LATENESS
from flows.core.stream.broker import Broker
from flows.host.patience import Patience, Stall
from flows.jobs.publishing.publisher import Ends
from flows.jobs.publishing.steady_producer import answered
from flows.pipeline import Pipeline

_CHUNKS_IN_BOUND = 8
_POLL = 0.002  # seconds between looks at the flows' progress
_STOPPED, _STUCK = 60.0, 600.0  # seconds to wait for a flow that does not run, and for one that does not move


class _Sent(NamedTuple):
    time: int  # of the first record of the chunk (ms)
    flow: str
    topic: str
    ends: dict[int, int]  # partition to the offset after the chunk


class Models(Protocol):
    """Which labels have reached the model that the predictor serves."""

    def serve(self, label_time: int) -> bool:
        """Whether the model in service has learned a label of `label_time` (ms) that the learner read."""


class BoundedLag:
    """The flows stay within `bound` ms of event time of the publisher, judged by their groups' offsets.

    So do the `models` in service, where they are given. `runs` tells whether a flow runs.
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
        self._watched: Mapping[str, str] = {pipeline.events.topic: "predict", pipeline.labels.topic: "learn"}
        self._sent: dict[str, deque[_Sent]] = {topic: deque() for topic in self._watched}
        self._behind: _Sent | None = None

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Whether the oldest record that is still to be read, or is `held` back, is at most `bound` older."""
        while (sent := self._oldest()) and event_time - sent[0].time > self._bound:
            if not self._is_done(sent[0]):
                return False
            sent.popleft()
        return held is None or event_time - held <= self._bound

    def rest(self) -> None:
        """Give the flows a moment."""
        self._patience.wait(_POLL, self._stall)

    def answered(self, ends: Ends) -> bool:
        """Whether the predictor has read the events up to `ends`."""
        events = self._pipeline.events.topic
        of_events = {p.partition: end for p, end in ends.items() if p.topic == events}
        return self._is_read(_Sent(0, "predict", events, of_events))

    def sent(self, first: int, ends: Ends) -> None:
        """Records went out, the first of them of `first` (ms)."""
        self._patience.moved()
        for topic, flow in self._watched.items():
            of_topic = {p.partition: end for p, end in ends.items() if p.topic == topic}
            if of_topic:
                self._sent[topic].append(_Sent(first, flow, topic, of_topic))

    def _oldest(self) -> deque[_Sent] | None:
        """The topic whose first chunk is the oldest: labels go out after newer events."""
        waiting = [sent for sent in self._sent.values() if sent]
        return min(waiting, key=lambda sent: sent[0].time, default=None)

    def _is_done(self, sent: _Sent) -> bool:
        """Whether the flow has read the chunk; of labels, whether they are in the model in service too."""
        if not self._is_read(sent):
            return False
        return sent.flow != "learn" or self._models is None or self._models.serve(sent.time)

    def _is_read(self, sent: _Sent) -> bool:
        group = self._pipeline.group(sent.flow)
        committed = answered(self._patience, lambda: self._broker.committed(group, sent.topic))
        if all(committed.get(partition, 0) >= end for partition, end in sent.ends.items()):
            self._patience.moved()
            return True
        self._behind = sent
        return False

    def _stall(self) -> Stall:
        if self._behind is None:
            return Stall("the flows do not move", _STUCK)
        flow, topic = self._behind.flow, self._behind.topic
        if self._runs(flow):
            return Stall(f"{flow} runs, but does not read topic {topic!r}; look into its log", _STUCK)
        return Stall(
            f"{flow} does not run, and has not read topic {topic!r}; start `driftline run`, or publish by "
            "the clock with --speed-up",
            _STOPPED,
        )


def default_step(bound: int) -> int:
    """How much event time (ms) a chunk spans when the flows keep within `bound` ms."""
    return max(1, min(bound // _CHUNKS_IN_BOUND, LATENESS))
