"""The step of the retrain flow."""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flows.adapters.prometheus import metrics
from flows.core.drift.signal import DriftSignal
from flows.core.learning.candidates.triggers import (
    Measurement,
    MetricTriggers,
    Trigger,
    of_alarm,
    read_measurement,
)
from flows.core.models.snapshots import Sealer
from flows.core.registry.entry import EntrySealer
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.core.stream.drain import Drain
from flows.core.stream.times import in_milliseconds, milliseconds
from flows.errors import InvalidRecord, RegistryError
from flows.pipeline import Pipeline
from flows.runtime.training.messages import (
    Dropped,
    TrainerMessage,
    TrainerPlace,
    TrainingOrder,
    TrainingProgress,
    Waiting,
)
from flows.runtime.training.trainer_process import TrainerProcess

_POLL = 0.05  # seconds between polls of a trainer
_TOLD_EVERY = 30.0  # seconds between log lines of a long training
_ATTEMPTS = 3  # trainers for one trigger that may crash
_PAUSES = (30.0, 600.0)  # seconds until more labels are looked for: the first time, and at most

_log = logging.getLogger("driftline.retrain")


class Unanswered(NamedTuple):
    """A trigger, and the versions of its candidates that are done."""

    trigger: Trigger
    done: frozenset[str] = frozenset()


class RetrainState(NamedTuple):
    """The stored state, as plain tuples.

    It has the unanswered triggers, the time (ms) of the last training, the number of the last signal that was
    a trigger, and the most labels of a measurement.
    """

    unanswered: tuple[tuple[Any, ...], ...]
    last: int | None
    signal: int
    labels: int | None


class RetrainStep:
    """Answers each trigger with candidates, which a trainer makes in another process.

    The step never waits for it. A training may take longer than a flow gets to drain, so it is ended then,
    and its trigger is stored to be answered after the next start. Candidates that are done are not repeated.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        place: TrainerPlace,
        sealer: Sealer,
        entries: EntrySealer,
        drain: Drain,
        state: bytes | None,
    ) -> None:
        self._pipeline = pipeline
        self._place = place
        self._sealer = sealer
        self._drain = drain
        self._drift = pipeline.topic("drift")
        self._registry = pipeline.topic("registry")
        self._entries = entries
        self._dead_letters = pipeline.topic("dead-letters")
        self._measured = metric_triggers(pipeline)
        stored = RetrainState(*sealer.open_state(state)) if state else RetrainState((), None, 0, None)
        self._measured.last, self._measured.labels = stored.last, stored.labels
        # after a crash the learner may raise another signal of a number that it has given before
        self._signal = stored.signal
        self._unanswered = [
            Unanswered(Trigger(*trigger), frozenset(done)) for trigger, done in stored.unanswered
        ]
        self._trainer: TrainerProcess | None = None
        self._crashes = 0  # of trainers for the first trigger
        self._pause = 0.0  # seconds, if the first trigger waits for labels
        self._begin_at = 0.0  # by the monotonic clock
        self._tell_at = 0.0  # by the monotonic clock
        self._show()

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        """Add the triggers in the records; return candidates that are done, and dead letters."""
        out: list[Outgoing] = []
        for records in values:
            for record in records:
                try:
                    self._add(self._trigger(record))
                except InvalidRecord as fault:
                    out.append(dead_letter(self._dead_letters, record, fault.reason, str(fault)))
        self._show()
        return [out, *self.wake()]

    def due(self) -> datetime | None:
        """Return when to poll the trainer (UTC), None if there is nothing to train."""
        if not self._unanswered or self._drain.is_set():
            return None
        pause = _POLL if self._trainer is not None else max(0.0, self._begin_at - time.monotonic())
        return datetime.now(UTC) + timedelta(seconds=pause)

    def wake(self) -> Iterable[list[Outgoing]]:
        """Start the next training, or return the candidates that are done."""
        if self._drain.is_set():
            self._stop()
            return [[]]
        out: list[Outgoing] = []
        if self._trainer is not None:
            for message in self._trainer.poll():
                out += self._told(message)
            if self._trainer.exit_code is not None:
                self._ended(self._trainer.exit_code)
        if self._trainer is None and self._unanswered and time.monotonic() >= self._begin_at:
            self._begin(*self._unanswered[0])
        return [out]

    def snapshot(self) -> bytes:
        """Return the state, sealed."""
        unanswered = tuple((tuple(each.trigger), tuple(sorted(each.done))) for each in self._unanswered)
        measured = self._measured
        return self._sealer.seal_state(
            tuple(RetrainState(unanswered, measured.last, self._signal, measured.labels))
        )

    def _trigger(self, record: Record) -> Trigger | None:
        """Return the trigger that follows from a record, if any; raises `InvalidRecord`."""
        if record.topic == self._registry:
            return self._requested(record)
        if record.topic != self._drift:
            return self._measured.measured(read_measurement(record))
        signal = DriftSignal.from_json(record.value or b"")
        trigger = of_alarm(signal)
        if trigger is None or signal.sequence <= self._signal:
            return None
        self._signal = signal.sequence
        self._measured.trained(trigger.time)
        return trigger

    def _requested(self, record: Record) -> Trigger | None:
        """Return the trigger of an entry of the registry if a person asks for a training."""
        try:
            entry = self._entries.open(record).entry
        except RegistryError as fault:
            raise InvalidRecord("signature", str(fault)) from None
        if entry.change != "requested":
            return None
        at = Measurement(milliseconds(entry.time), entry.version, {})
        return self._measured.requested(at, f"{entry.who}: {entry.why}")

    def _add(self, trigger: Trigger | None) -> None:
        """Add a trigger in place of those that still wait and that it makes obsolete.

        Requests of one event time are one trigger, which is answered once.
        """
        if trigger is None or trigger.id in [each.trigger.id for each in self._unanswered]:
            return
        in_training, waiting = self._unanswered[:1], self._unanswered[1:]
        if self._trainer is None:
            in_training, waiting = [], self._unanswered
        kept = [each for each in waiting if not trigger.replaces(each.trigger)]
        self._unanswered = [*in_training, *kept, Unanswered(trigger)]
        if self._trainer is None:
            self._go_on()

    def _go_on(self) -> None:
        """Begin with what is now the first trigger at once."""
        self._crashes, self._pause, self._begin_at = 0, 0.0, 0.0

    def _begin(self, trigger: Trigger, done: frozenset[str]) -> None:
        self._trainer = TrainerProcess(TrainingOrder(self._place, trigger, done))
        self._tell_at, self._begin_at = time.monotonic() + _TOLD_EVERY, 0.0

    def _told(self, message: TrainerMessage) -> Sequence[Outgoing]:
        """Handle a message of the trainer; return the candidate that is done, if it is one."""
        if isinstance(message, TrainingProgress):
            self._show_progress(message)
            return []
        if isinstance(message, Waiting):
            self._wait(message)
            return []
        trigger, done = self._unanswered[0]
        self._unanswered[0] = Unanswered(trigger, done | {message.version})
        if isinstance(message, Dropped):
            metrics.RETRAININGS.labels(message.outcome).inc()
            if message.outcome != "no-champion":
                _log.warning("candidate %s was dropped: %s", message.version, message.detail)
            return []
        metrics.RETRAININGS.labels("challenger").inc()
        return [message.record]

    def _show_progress(self, progress: TrainingProgress) -> None:
        metrics.TRAINING_ROWS.set(progress.rows)
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TOLD_EVERY
            _log.warning("training %s: %s rows so far", progress.version, f"{progress.rows:,}")

    def _wait(self, waiting: Waiting) -> None:
        """Look for more labels later, unless a newer trigger comes."""
        if not self._pause:
            _log.warning("candidate %s waits for labels: %s", waiting.version, waiting.detail)
        first, longest = _PAUSES
        if not self._begin_at:
            self._pause = min(longest, max(first, 2 * self._pause))
            self._begin_at = time.monotonic() + self._pause

    def _ended(self, exit_code: int) -> None:
        """Go on with the next trigger, or repeat this one if its trainer crashed or waits for labels."""
        self._trainer = None
        metrics.TRAINING_ROWS.set(0)
        if self._begin_at:
            self._unanswered.append(self._unanswered.pop(0))
            return
        if exit_code:
            self._crashes += 1
            trigger = self._unanswered[0].trigger
            _log.warning("the trainer for %s ended with exit code %d", trigger.id, exit_code)
            if self._crashes < _ATTEMPTS:
                return
            metrics.RETRAININGS.labels("failed").inc()
        del self._unanswered[0]
        self._go_on()
        self._show()

    def _stop(self) -> None:
        """End the training; it is repeated after the next start."""
        if self._trainer is not None:
            self._trainer.kill()
            self._trainer = None

    def _show(self) -> None:
        metrics.RETRAIN_WAITING.set(len(self._unanswered))


def metric_triggers(pipeline: Pipeline) -> MetricTriggers:
    """Return the triggers that a pipeline declares for its metrics."""
    policy = pipeline.retrain
    schedule = None if policy.schedule is None else in_milliseconds(policy.schedule)
    window = 0 if policy.window is None else in_milliseconds(policy.window)
    cool_down = in_milliseconds(policy.cool_down)
    first = 0 if policy.search is None else policy.search.first
    return MetricTriggers(pipeline.name, schedule, pipeline.metric_floor(), cool_down, window, first)
