"""Which labels the served model has learned, by the models topic and the predictor's offsets."""

import time
from typing import NamedTuple

from flows.core.stream.broker import Broker, TopicPartition
from flows.host.patience import Patience
from flows.jobs.publishing.steady_producer import retry_while_away
from flows.pipeline import Pipeline

_INTERVALS = 3  # to wait for a model with a label that the learner has read
_SHORTEST_WAIT = 0.5  # seconds


class _ModelMessage(NamedTuple):
    label_time: int  # of the last label that the model has learned (ms)
    partition: int
    end: int  # the offset after the message


class LearnedLabels:
    """Follows the models topic from its current end; the learner publishes a model every `interval` seconds.

    A label that the learner skips, such as a duplicate, is in no model. So a label counts as learned after
    three intervals without a model that has it.
    """

    def __init__(self, broker: Broker, pipeline: Pipeline, interval: float, patience: Patience) -> None:
        self._broker = broker
        self._patience = patience
        self._topic, self._group = pipeline.topic("models"), pipeline.group("predict")
        ends = {TopicPartition(self._topic, n): end for n, (_, end) in enumerate(broker.offsets(self._topic))}
        self._consumer = broker.consumer("driftline.reader", ends)
        self._longest_wait = max(_SHORTEST_WAIT, _INTERVALS * interval)
        self._unserved: list[_ModelMessage] = []  # published, and not yet read by the predictor
        self._learned = 0  # the last label time (ms) of the served model
        self._wanted, self._wanted_since = 0, 0.0  # the label time waited for, and since when (s)

    def has_learned(self, label_time: int) -> bool:
        """Return whether the served model has learned the labels up to `label_time` (ms).

        The learner must have read them.
        """
        if label_time <= self._learned:
            return True
        if self._wanted != label_time:
            self._wanted, self._wanted_since = label_time, time.monotonic()
        self._follow()
        if label_time <= self._learned:
            return True
        return time.monotonic() - self._wanted_since > self._longest_wait

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _follow(self) -> None:
        for record in self._consumer.poll(100, 0.0):
            self._unserved.append(_ModelMessage(record.timestamp, record.partition, record.offset + 1))
        if not self._unserved:
            return
        read = retry_while_away(self._patience, lambda: self._broker.committed(self._group, self._topic))
        unserved = []
        for message in self._unserved:
            if read.get(message.partition, 0) >= message.end:
                self._learned = max(self._learned, message.label_time)
            else:
                unserved.append(message)
        self._unserved = unserved
