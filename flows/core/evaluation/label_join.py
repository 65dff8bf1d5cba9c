"""The label join: each label meets the prediction that was served for its event, once."""

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import orjson

from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.models.tasks import Truth
from flows.core.stream.broker import Record
from flows.core.stream.decode import Decoder
from flows.errors import InvalidRecord

MAX_PENDING = 1_000_000
EARLY_LIMIT = 200_000
LEARNED_LIMIT = 200_000


class Label(NamedTuple):
    """The truth about an event, known at `time` (ms), and the record that brought it."""

    id: str
    time: int
    truth: Truth
    record: Record


def valid_labels(records: Iterable[Record], decoder: Decoder, target: str) -> Iterator[Label]:
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


Repetition = Literal["duplicate", "corrected"]


class LabelJoin:
    """Joins by event id whichever of the two comes first, within `wait` milliseconds of event time.

    At most `limit` predictions and `EARLY_LIMIT` labels wait; beyond that the oldest are given up before
    their time. A prediction that is given up so gets no default label: its own may still come. Pending
    predictions are kept compressed, and read when their label comes.
    """

    def __init__(self, wait: int, limit: int = MAX_PENDING) -> None:
        self.limit = limit
        self._wait = wait
        # ordered dicts, for the first item of a dict is behind all that were deleted before it
        self._pending: OrderedDict[str, bytes] = OrderedDict()
        self._early: OrderedDict[str, Label] = OrderedDict()
        self._learned: OrderedDict[str, Truth] = OrderedDict()  # the truth that was learned
        self.expired = 0  # predictions that no label came for
        self.evicted = 0  # those of them that had to go before their time
        self.assumed = 0  # those of them that got the default label

    def __len__(self) -> int:
        return len(self._pending)

    def predicted(self, pending: Pending) -> Joined | None:
        """A prediction was served; its label, if that was there before it."""
        event_id = pending.prediction.id
        if event_id in self._learned or event_id in self._pending:
            return None
        label = self._early.pop(event_id, None)
        if label is not None:
            return self._joined(pending, label)
        self._pending[event_id] = _pack(pending)
        while len(self._pending) > self.limit:
            self._give_up_oldest()
            self.evicted += 1
        return None

    def repetition(self, label: Label) -> Repetition | None:
        """What a label is whose event had one before: the same again, or a correction, with another truth."""
        early = self._early.get(label.id)
        truth = self._learned.get(label.id) if early is None else early.truth
        if truth is None:
            return None
        return "duplicate" if truth == label.truth else "corrected"

    def labelled(self, label: Label) -> Joined | None:
        """A label came, no repetition; the prediction that it belongs to, unless that is still to come."""
        packed = self._pending.pop(label.id, None)
        if packed is None:
            self._early[label.id] = label
            return None
        return self._joined(_unpack(label.id, packed), label)

    def give_up(self, now: int) -> None:
        """Forget the predictions that have waited for longer than the wait."""
        while self._has_overdue(now):
            self._give_up_oldest()

    def assume(self, now: int, truth: Truth, record: Record) -> Iterator[Joined]:
        """Join them with this truth instead, known when the wait was over; `record` has moved the time."""
        while self._has_overdue(now):
            pending = _unpack(*self._pending.popitem(last=False))
            self.assumed += 1
            known = pending.prediction.time + self._wait
            yield self._joined(pending, Label(pending.prediction.id, known, truth, record))

    def expire(self, now: int) -> Iterator[Label]:
        """Give up the labels whose event has not come within the wait, and yield them."""
        while self._early:
            oldest = next(iter(self._early.values()))
            if len(self._early) <= EARLY_LIMIT and oldest.time >= now - self._wait:
                break
            yield self._early.pop(oldest.id)

    def _has_overdue(self, now: int) -> bool:
        return bool(self._pending) and _time(next(iter(self._pending.values()))) < now - self._wait

    def _joined(self, pending: Pending, label: Label) -> Joined:
        self._learned[label.id] = label.truth
        if len(self._learned) > LEARNED_LIMIT:
            self._learned.popitem(last=False)
        return Joined(pending, label)

    def _give_up_oldest(self) -> None:
        self._pending.popitem(last=False)
        self.expired += 1


_TIME = 8  # bytes in front of a packed prediction, so that expiry need not unpack it


def _pack(pending: Pending) -> bytes:
    """A pending prediction in few bytes; its id is the key that it is kept under."""
    (_, time, *served), *baselines = pending
    return time.to_bytes(_TIME, signed=True) + zlib.compress(orjson.dumps([*served, *baselines]), level=1)


def _unpack(event_id: str, packed: bytes) -> Pending:
    *served, majority, no_change = orjson.loads(zlib.decompress(packed[_TIME:]))
    return Pending(Prediction(event_id, _time(packed), *served), majority, no_change)


def _time(packed: bytes) -> int:
    return int.from_bytes(packed[:_TIME], signed=True)
