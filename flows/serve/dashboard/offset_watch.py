"""How far the topics of a pipeline and its flows are, for views that ask for it every few seconds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flows.core.stream.broker import Broker
from flows.pipeline import Pipeline
from flows.runtime.runner import FLOWS

SEARCH = 30.0  # seconds between two times that everything is asked for


class Offsets(NamedTuple):
    """The end of each topic, the number of its records, and how far each flow has read its topics."""

    ends: Mapping[str, int]
    counts: Mapping[str, int]
    read: Mapping[str, Mapping[str, int]]


class OffsetWatch:
    """Asks the broker for little, since on Kafka each question is a request.

    A flow has committed offsets of few topics, and the first records of a topic are seldom removed: both are
    searched for now and then only.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._inputs: dict[str, Sequence[str]] = {}  # of each flow, as far as it has committed offsets
        self._starts: Mapping[str, int] = {}
        self._search_at = 0.0

    def read(self, broker: Broker, now: float) -> Offsets:
        """Return the offsets at `now` (seconds); raises `UnknownTopic` if a topic is missing."""
        topics = self._pipeline.topics
        if now >= self._search_at:
            self._inputs = {}
            self._starts = {topic: sum(first for first, _ in broker.offsets(topic)) for topic in topics}
            self._search_at = now + SEARCH
        read = {flow: self._committed(broker, flow) for flow in FLOWS}  # before the ends: no lag is negative
        ends: Counter[str] = Counter()
        for (topic, _), end in broker.ends(topics).items():
            ends[topic] += end
        return Offsets(ends, {topic: max(0, ends[topic] - self._starts[topic]) for topic in topics}, read)

    def _committed(self, broker: Broker, flow: str) -> dict[str, int]:
        topics = self._inputs.get(flow) or self._pipeline.topics
        found = {topic: broker.committed(self._pipeline.group(flow), topic) for topic in topics}
        self._inputs[flow] = [topic for topic, offsets in found.items() if offsets]
        return {topic: offset for topic, offsets in found.items() if (offset := sum(offsets.values()))}
