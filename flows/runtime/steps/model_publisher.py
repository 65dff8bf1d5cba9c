"""Makes the records of the models topic: numbers them, and limits the cost of large models."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flows.core.models.model import Model, ModelMessage, Role
from flows.core.models.snapshots import INLINE_BYTES, Sealer
from flows.core.stream.broker import Broker, Outgoing, TopicPartition, read_range
from flows.errors import SnapshotError

_SHARE = 10  # publishing takes at most one tenth of the time
_BYTES_PER_SECOND = 1e6  # of large snapshots in the artifact store

_log = logging.getLogger("driftline.models")


class ModelPublisher:
    """Makes the records of one pipeline's models.

    `sequence` is that of the last record, `interval` and `pause` are seconds between publications.
    """

    def __init__(self, pipeline: str, topic: str, sealer: Sealer, sequence: int, interval: float) -> None:
        self.sequence = sequence
        self.pause = interval  # seconds until the models may be published again
        self._pipeline = pipeline
        self._topic = topic
        self._sealer = sealer
        self._interval = interval
        self._warn_above = INLINE_BYTES

    def record(
        self, role: Role, model: Model, time: int, lineage: Mapping[str, Any], share: float = 0.0
    ) -> Outgoing:
        """Return the next record of the sequence; raises `StoreError` if a large model cannot be stored."""
        content = self._sealer.pickle(model)
        self._warn(model, len(content))
        message = ModelMessage(self._pipeline, role, time, model, lineage, self.sequence + 1, share)
        record = self._sealer.record(self._topic, message, content)
        self.sequence += 1
        if len(content) > INLINE_BYTES:
            self.pause = max(self.pause, len(content) / _BYTES_PER_SECOND)
        return record

    def publication(
        self,
        models: Sequence[tuple[Role, Model]],
        at: int,
        lineage: Mapping[str, Any],
        shares: Mapping[str, float],
    ) -> list[Outgoing]:
        """Return a record of each model, and set `pause` according to their cost.

        `at` is the event time (ms); `lineage` and `shares`, those of a canary, are by version.
        """
        self.pause, began = self._interval, time.monotonic()
        records = [
            self.record(role, model, at, lineage.get(model.version, {}), shares.get(model.version, 0.0))
            for role, model in models
        ]
        self.pause = max(self.pause, _SHARE * (time.monotonic() - began))
        return records

    def _warn(self, model: Model, size: int) -> None:
        """Warn when a model becomes too large for a message, and at each doubling of its size."""
        if size <= self._warn_above:
            return
        while self._warn_above < size:
            self._warn_above *= 2
        _log.warning(
            "model %s has %s bytes; snapshots above %s bytes go to the artifact store, at most one every "
            "%.1f s. If it grows with each new value, bound it: hash texts (FeatureHasher) instead of "
            "one-hot encoding them, or limit a tree's max_depth and max_size",
            model.version,
            f"{size:,}",
            f"{INLINE_BYTES:,}",
            size / _BYTES_PER_SECOND,
        )


def newest_sequence(broker: Broker, topic: str, sealer: Sealer, start: Mapping[int, int]) -> int:
    """Return the highest sequence of the learner's messages on the models topic, 0 if there is none.

    `start` is the offset to begin at, by partition. After a crash the topic is ahead of the stored state, and
    predictors refuse a message that does not advance the sequence.
    """
    highest = 0
    for partition, (first, end) in enumerate(broker.offsets(topic)):
        begin = max(first, start.get(partition, 0))
        for records in read_range(broker, TopicPartition(topic, partition), begin, end):
            for record in records:
                try:
                    announced = sealer.announced(record)
                except SnapshotError:
                    continue  # the predict flow writes a dead letter
                if announced.role != "candidate":
                    highest = max(highest, announced.sequence)
    return highest
