"""The label join: each label meets the prediction that was served for its event, once."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flows.core.baselines import Score
from flows.core.broker import Record
from flows.core.decode import Decoder
from flows.core.models import Prediction
from flows.core.recent import RecentIds
from flows.core.tasks import Truth
from flows.errors import InvalidRecord

PENDING_LIMIT = 1_000_000
EARLY_LIMIT = 200_000
LEARNED_LIMIT = 200_000


class Label(NamedTuple):
    """The truth about an event, known at `time` (ms), and the record that brought it."""

    id: str
    time: int
    truth: Truth
    record: Record


def usable(records: Iterable[Record], decoder: Decoder, target: str) -> Iterator[Label]:
    """The labels among `records`; of the others the learner makes dead letters."""
    for record in records:
        try:
            event_id, time, payload = decoder.decode(record)
        except InvalidRecord:
            continue
        yield Label(event_id, time, payload[target], record)


class Pending(NamedTuple):
    """A prediction that waits for its label, beside what the baselines said at the same moment."""

    prediction: Prediction
    majority: Score
    no_change: Score


class Joined(NamedTuple):
    """A label and the prediction that it judges."""

    pending: Pending
    label: Label


class LabelJoin:
    """Joins by event id whichever of the two comes first, within `wait` milliseconds of event time.

    At most `PENDING_LIMIT` predictions and `EARLY_LIMIT` labels wait; beyond that the oldest are given up as
    if expired.
    """

    def __init__(self, wait: int) -> None:
        self._wait = wait
        self._pending: dict[str, Pending] = {}
        self._early: dict[str, Label] = {}
        self._learned = RecentIds(LEARNED_LIMIT)
        self.expired = 0  # predictions that no label came for

    def __len__(self) -> int:
        return len(self._pending)

    def predicted(self, pending: Pending) -> Joined | None:
        """A prediction was served; its label, if that was there before it."""
        event_id = pending.prediction.id
        if event_id in self._learned or event_id in self._pending:
            return None
        label = self._early.pop(event_id, None)
        if label is not None:
            self._learned.add(event_id)
            return Joined(pending, label)
        self._pending[event_id] = pending
        if len(self._pending) > PENDING_LIMIT:
            self._give_up_oldest()
        return None

    def is_duplicate(self, label: Label) -> bool:
        """Whether a label of this event was taken in before."""
        return label.id in self._learned or label.id in self._early

    def labelled(self, label: Label) -> Joined | None:
        """A label came, no duplicate; the prediction that it belongs to, unless that is still to come."""
        pending = self._pending.pop(label.id, None)
        if pending is None:
            self._early[label.id] = label
            return None
        self._learned.add(label.id)
        return Joined(pending, label)

    def expire(self, now: int) -> Iterator[Label]:
        """Give up predictions older than the wait, and yield the labels whose event never came."""
        while self._pending and self._oldest_pending().time < now - self._wait:
            self._give_up_oldest()
        while self._early:
            oldest = next(iter(self._early.values()))
            if len(self._early) <= EARLY_LIMIT and oldest.time >= now - self._wait:
                break
            yield self._early.pop(oldest.id)

    def _oldest_pending(self) -> Prediction:
        return next(iter(self._pending.values())).prediction

    def _give_up_oldest(self) -> None:
        del self._pending[next(iter(self._pending))]
        self.expired += 1
