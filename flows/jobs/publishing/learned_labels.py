"""Which labels the model in service has learned, as the models topic and the predictor's offsets tell."""

import time

from flows.core.stream.broker import Broker, TopicPartition
from flows.host.patience import Patience
from flows.jobs.publishing.steady_producer import answered
from flows.pipeline import Pipeline


class LearnedLabels:
    """Follows the models topic from now on; the learner publishes a model every `interval` seconds.

    A label that the learner has read and no model tells of was not learned, or was already: it is waited for
    a few intervals.
    """

    def __init__(self, broker: Broker, pipeline: Pipeline, interval: float, patience: Patience) -> None:
        self._broker = broker
        self._patience = patience
        self._topic, self._group = pipeline.topic("models"), pipeline.group("predict")
        ends = {TopicPartition(self._topic, n): end for n, (_, end) in enumerate(broker.offsets(self._topic))}
        self._consumer = broker.consumer("driftline.reader", ends)
        self._wait = max(0.5, 3 * interval)
        # of models: the last label's time (ms), the partition, the next offset
        self._news: list[tuple[int, int, int]] = []
        self._served = 0
        self._asked = (0, 0.0)  # a label's time, and when it was first asked for

    def serve(self, label_time: int) -> bool:
        """Whether the model in service has learned a label of `label_time` (ms) that the learner read."""
        if label_time <= self._served:
            return True
        if self._asked[0] != label_time:
            self._asked = (label_time, time.monotonic())
        self._follow()
        return label_time <= self._served or time.monotonic() - self._asked[1] > self._wait

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _follow(self) -> None:
        for record in self._consumer.poll(100, 0.0):
            self._news.append((record.timestamp, record.partition, record.offset + 1))
        if self._news:
            read = answered(self._patience, lambda: self._broker.committed(self._group, self._topic))
            served = [time for time, partition, end in self._news if read.get(partition, 0) >= end]
            self._news = [n for n in self._news if read.get(n[1], 0) < n[2]]
            self._served = max([self._served, *served])
