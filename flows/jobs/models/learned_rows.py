"""Reads what the models learned back from the log, in the order in which they learned it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from flows.core.evaluation.label_join import Label, valid_labels
from flows.core.learning.candidates.cuts import ASSUMED
from flows.core.learning.candidates.order import LearnedOrder, Place, places
from flows.core.learning.training import LabelledRow
from flows.core.models.model import Prediction
from flows.core.models.tasks import task_of
from flows.core.serving import prediction_message
from flows.core.stream.broker import Broker, Record, TopicPartition, partitions_since, read_range, read_since
from flows.core.stream.merge import merged
from flows.core.stream.times import in_milliseconds
from flows.errors import InvalidRecord, SnapshotError
from flows.pipeline import Pipeline


class LearnedPlaces:
    """The places of all rows that the models of a pipeline learned."""

    def __init__(self, broker: Broker, pipeline: Pipeline) -> None:
        self._orders: list[LearnedOrder] = []
        for record in read_since(broker, pipeline.topic("learned"), 0):
            with suppress(InvalidRecord):
                self._add(LearnedOrder.from_record(record))

    def after(self, row: int, count: int) -> list[Place]:
        """Return the places of up to `count` rows, the first one being number `row`."""
        found: list[Place] = []
        begin = bisect_right(self._orders, row, key=lambda order: order.first) - 1
        for order in self._orders[max(0, begin) :]:
            at = row + len(found)
            if len(found) >= count or not order.first <= at < order.end:
                break
            found += list(places(order))[at - order.first :]
        return found[:count]

    def _add(self, order: LearnedOrder) -> None:
        """Add an order; after a crash the learner writes some rows again, perhaps in another order."""
        while self._orders and self._orders[-1].first >= order.first:
            self._orders.pop()
        self._orders.append(order)


class LearnedLog:
    """Reads rows by their places; those of later calls come later in the log, as in the learner."""

    def __init__(self, broker: Broker, pipeline: Pipeline) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._decoder = pipeline.labels.decoder()
        self._learns_from_labels = task_of(pipeline.task).learns_from_labels
        self._wait = in_milliseconds(pipeline.label_wait)
        self._predictions: Iterator[Prediction] | None = None
        self._known: dict[str, Prediction] = {}

    def rows(self, wanted: Sequence[Place]) -> list[LabelledRow]:
        """Return the rows at these places; raises `SnapshotError` if a record is no longer in the log."""
        if not self._learns_from_labels:
            return [LabelledRow(each.features, None) for each in self._events(wanted)]
        labels = self._labels(wanted)
        known = self._predicted(labels)
        return [LabelledRow(known[event_id].features, truth) for event_id, _, truth in labels]

    def _events(self, wanted: Sequence[Place]) -> list[Prediction]:
        found = self._records(self._pipeline.topic("predictions"), wanted)
        return [prediction_message.decode(found[place.partition, place.offset]) for place in wanted]

    def _labels(self, wanted: Sequence[Place]) -> list[tuple[str, int, Any]]:
        """Return the id, the time (ms) and the truth of each label."""
        found = self._records(
            self._pipeline.labels.topic, [place for place in wanted if place.partition != ASSUMED]
        )
        labels: list[tuple[str, int, Any]] = []
        for partition, offset, event_id in wanted:
            if event_id is not None:
                labels.append((event_id, offset, self._pipeline.default_label))
            else:
                label = self._label(found[partition, offset])
                labels.append((label.id, label.time, label.truth))
        return labels

    def _label(self, record: Record) -> Label:
        return next(valid_labels([record], self._decoder, self._pipeline.target))

    def _records(self, topic: str, wanted: Iterable[Place]) -> dict[tuple[int, int], Record]:
        """Return the records at these places of a topic; raises `SnapshotError` for one that is gone."""
        offsets: dict[int, set[int]] = {}
        for place in wanted:
            offsets.setdefault(place.partition, set()).add(place.offset)
        found: dict[tuple[int, int], Record] = {}
        for number, these in offsets.items():
            for records in read_range(
                self._broker, TopicPartition(topic, number), min(these), max(these) + 1
            ):
                found |= {(number, record.offset): record for record in records if record.offset in these}
            if missing := [each for each in these if (number, each) not in found]:
                raise SnapshotError(
                    f"{topic}/{number} must have the record at offset {min(missing)}, which a model learned, "
                    "got none; the topic no longer keeps it"
                )
        return found

    def _predicted(self, labels: Sequence[tuple[str, int, Any]]) -> dict[str, Prediction]:
        """Return the predictions for labels, by id; raises `SnapshotError` if one is gone."""
        since = min(time for _, time, _ in labels) - 2 * self._wait  # later calls may have an earlier label
        if self._predictions is None:
            self._predictions = self._read_predictions(max(0, since))
        self._known = {key: each for key, each in self._known.items() if each.time >= since}
        for event_id, _, _ in labels:
            while event_id not in self._known:
                prediction = next(self._predictions, None)
                if prediction is None:
                    raise SnapshotError(
                        f"topic {self._pipeline.topic('predictions')!r} must have the prediction "
                        f"{event_id!r}, whose label a model learned, got none; the topic no longer keeps it"
                    )
                self._known[prediction.id] = prediction
        return self._known

    def _read_predictions(self, since: int) -> Iterator[Prediction]:
        """Yield the predictions from a time (ms) on; several partitions are merged by time."""
        for record in merged(partitions_since(self._broker, self._pipeline.topic("predictions"), since)):
            with suppress(InvalidRecord):
                yield prediction_message.decode(record)
