"""The label join: joins each label once with the prediction that was served for its event."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from flows.core.block_store import BlockStore, load_blocks, store_blocks
from flows.core.evaluation.learned_truths import LearnedTruths
from flows.core.evaluation.pending import PendingPredictions
from flows.core.evaluation.pending_block import Pending
from flows.core.models.tasks import Truth
from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoder
from flows.errors import InvalidRecord

MAX_PENDING = 1_000_000
EARLY_LIMIT = 200_000


class Label(NamedTuple):
    """The truth about an event, known at `time` (ms), and the record that carries it."""

    id: str
    time: int
    truth: Truth
    record: Record


def read_labels(records: Sequence[Record], decoder: Decoder, target: str) -> list[Label | InvalidRecord]:
    """Return the label in each record, or the fault of one that is invalid."""
    batch = decoder.decode_batch(records)
    if batch is None:
        return [_read_label(record, decoder, target) for record in records]
    # A named tuple's own constructor takes twice as long, and there is one for each label.
    new = tuple.__new__
    columns = zip(batch.ids, batch.times, batch.payloads, records, strict=True)
    return [
        new(Label, (event_id, time, payload[target], record)) for event_id, time, payload, record in columns
    ]


def _read_label(record: Record, decoder: Decoder, target: str) -> Label | InvalidRecord:
    try:
        event_id, time, payload = decoder.decode(record)
    except InvalidRecord as fault:
        return fault
    return Label(event_id, time, payload[target], record)


def valid_labels(records: Iterable[Record], decoder: Decoder, target: str) -> Iterator[Label]:
    """Yield the valid labels of `records`; the learner turns the others into dead letters."""
    for record in records:
        label = _read_label(record, decoder, target)
        if isinstance(label, Label):
            yield label


class Joined(NamedTuple):
    """A label and the prediction of its event."""

    pending: Pending
    label: Label


Repetition = Literal["duplicate", "corrected"]


class LabelJoin:
    """Joins predictions and labels by event id, in either order, within `wait` ms of event time.

    At most `limit` predictions and `EARLY_LIMIT` labels are buffered; beyond that the oldest are evicted. An
    evicted prediction gets no default label, since its own may still arrive.
    """

    def __init__(self, wait: int, limit: int = MAX_PENDING) -> None:
        self.limit = limit
        self._wait = wait
        self._pending = PendingPredictions()
        self._early: OrderedDict[str, Label] = OrderedDict()
        self._learned = LearnedTruths()
        self.expired = 0  # predictions without a label within the wait, and evicted ones
        self.evicted = 0  # predictions beyond the limit
        self.assumed = 0  # predictions that got the default label

    def __len__(self) -> int:
        return len(self._pending)

    def predicted(self, pending: Pending) -> Joined | None:
        """Add a served prediction; return it joined if its label arrived before it."""
        event_id = pending[0][0]
        if event_id in self._learned or event_id in self._pending:
            return None
        if self._early:
            label = self._early.pop(event_id, None)
            if label is not None:
                return self._joined(pending, label)
        self._pending.add(pending)
        while len(self._pending) > self.limit:
            self._pop_oldest()
            self.expired += 1
            self.evicted += 1
        return None

    def labelled(self, label: Label) -> Joined | Repetition | None:
        """Add a label; return it joined, how it repeats the first one, or None without a prediction yet."""
        pending = self._pending.pop(label[0])
        if pending is not None:  # then no label of the event was added before
            return self._joined(pending, label)
        repetition = self.repetition(label)
        if repetition is None:
            self._early[label.id] = label
        return repetition

    def repetition(self, label: Label) -> Repetition | None:
        """Return how a further label of an event differs from the first one; None for a first label."""
        early = self._early.get(label.id)
        truth = self._learned.get(label.id) if early is None else early.truth
        if truth is None:
            return None
        return "duplicate" if truth == label.truth else "corrected"

    @property
    def early(self) -> Iterable[str]:
        """The ids of labels without a prediction yet, in the order of arrival."""
        return self._early

    def is_due(self, now: int) -> bool:
        """Return whether predictions or early labels expire at `now` (ms)."""
        oldest = self._pending.oldest()
        if oldest is not None and oldest.prediction.time < now - self._wait:
            return True
        return bool(self._early) and self._has_overdue_label(now)

    def give_up(self, now: int) -> None:
        """Drop the predictions that are older than the wait at `now` (ms)."""
        while self._has_overdue(now):
            self._pop_oldest()
            self.expired += 1

    def assume(self, now: int, truth: Truth, record: Record) -> Iterator[Joined]:
        """Join the predictions that are older than the wait at `now` (ms) with the default label `truth`.

        The label is known at the end of the wait; `record` is the one that advanced event time to `now`.
        """
        while self._has_overdue(now):
            pending = self._pop_oldest()
            self.assumed += 1
            known = pending.prediction.time + self._wait
            yield self._joined(pending, Label(pending.prediction.id, known, truth, record))

    def expire(self, now: int) -> Iterator[Label]:
        """Remove and yield the labels whose prediction has not arrived within the wait."""
        while self._early and self._has_overdue_label(now):
            yield self._early.popitem(last=False)[1]

    def store(self, store: BlockStore) -> None:
        """Store what the next snapshot then need not contain; raises `StateError`."""
        parts = (self._pending, self._learned)
        store_blocks([block for part in parts for block in part.blocks], store)
        for part in parts:
            store.release(part.released)
            part.released = []
        store.delete_unused()

    def load(self, store: BlockStore) -> None:
        """Read what a restored snapshot does not contain; raises `StateError`."""
        for part in (self._pending, self._learned):
            load_blocks(part.blocks, store)
            part.index()

    def _has_overdue(self, now: int) -> bool:
        oldest = self._pending.oldest()
        return oldest is not None and oldest.prediction.time < now - self._wait

    def _has_overdue_label(self, now: int) -> bool:
        oldest = next(iter(self._early.values()))
        return len(self._early) > EARLY_LIMIT or oldest.time < now - self._wait

    def _joined(self, pending: Pending, label: Label) -> Joined:
        self._learned.add(label[0], label[2])
        return tuple.__new__(Joined, (pending, label))  # as in `read_labels`

    def _pop_oldest(self) -> Pending:
        oldest = self._pending.oldest()
        assert oldest is not None
        self._pending.pop(oldest.prediction.id)
        return oldest
