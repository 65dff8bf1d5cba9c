"""The learner: joins labels, evaluates predictions, detects drift, trains models, and decides contests.

One object holds the whole learning state of a pipeline, so one snapshot is consistent. The order for each
label is fixed: evaluate the served prediction, update the drift detectors, then learn. The learn flow and the
backtest run this same code.
"""

from collections.abc import Mapping
from typing import NamedTuple

from flows.core.drift.concept import ConceptDrift
from flows.core.drift.features import ComparedWindow
from flows.core.drift.levels import Detector, Position
from flows.core.drift.monitor import DriftMonitor, MonitorSettings, SignalContext
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.block_store import BlockStore
from flows.core.evaluation.evaluation import Baselines, Evaluation
from flows.core.evaluation.label_join import MAX_PENDING, Joined, Label, LabelJoin
from flows.core.learning.contest import Contest
from flows.core.learning.outliers import LABEL, OutlierFilter, Outliers, OutlierValue
from flows.core.models.model import Model, ModelMessage, Prediction, Role
from flows.core.models.tasks import Truth
from flows.core.stream.broker import Record
from flows.core.user_code import describe


class RoleChange(NamedTuple):
    """A model got another role: a contest was decided, or a newer challenger replaced it."""

    role: Role
    model: Model


class DeadLabel(NamedTuple):
    """A label that cannot be used, with the reason and the detail of its dead letter.

    `error` is the exception of a model, if any.
    """

    record: Record
    reason: str
    detail: str
    error: Exception | None = None


class LearningFailure(NamedTuple):
    """An event that a model could not learn, with the detail of its dead letter.

    `error` is the exception of the model, if any.
    """

    detail: str
    error: Exception | None = None


class Outlier(NamedTuple):
    """A served event with outliers; the declaration says how they are treated."""

    id: str
    outside: Mapping[str, OutlierValue]  # by feature, or `LABEL`


class Policy(NamedTuple):
    """The settings of a learner, from the declaration of the pipeline; durations in milliseconds."""

    label_wait: int
    delta: float
    warm_up: int
    cool_down: int
    significance: float
    patience: int
    block: int
    detector: Detector = "adwin"
    options: Mapping[str, object] = {}  # of the detector; ADWIN uses `delta` instead
    monitor: MonitorSettings = MonitorSettings()
    default_label: Truth | None = None
    max_pending: int = MAX_PENDING
    outliers: Outliers = "clip"


NOWHERE = Position("", 0, 0)

LearnerEvent = DriftSignal | RoleChange | DeadLabel | LearningFailure | Outlier


class Learner:
    """The learning state of one pipeline.

    `names` are the feature names in the order of a prediction's features. Methods that handle an input
    return the events that follow from it.
    """

    def __init__(
        self, pipeline: str, policy: Policy, names: tuple[str, ...], champion: Model, evaluation: Evaluation
    ) -> None:
        self.pipeline = pipeline
        self.champion = champion
        self.challenger: Model | None = None
        self.lineage: dict[str, Mapping[str, object]] = {champion.version: {}}
        self.evaluation = evaluation
        self.now = 0  # the latest event time (ms)
        self.learned_until = 0  # the latest time (ms) of a label or event learned
        self.steps = 0  # labels evaluated, and events learned without labels
        self.outliers = OutlierFilter(names, policy.outliers)
        self._names = names
        self._policy = policy
        self._task = champion.task
        self._error = self._task.error_measure()
        self._baselines = Baselines(self._task)
        self._join = LabelJoin(policy.label_wait, policy.max_pending)
        options = {"delta": policy.delta} if policy.detector == "adwin" else policy.options
        drift = ConceptDrift(
            policy.detector, options, policy.warm_up, policy.cool_down, policy.monitor.slices
        )
        self._monitor = DriftMonitor(pipeline, policy.detector, drift, policy.monitor)
        self._contest: Contest | None = None

    @property
    def pending(self) -> int:
        """The number of predictions without a label yet."""
        return len(self._join)

    @property
    def expired(self) -> int:
        """The number of predictions whose label did not arrive in time, including evicted ones."""
        return self._join.expired

    @property
    def evicted(self) -> int:
        """The number of predictions evicted because too many were pending."""
        return self._join.evicted

    @property
    def assumed(self) -> int:
        """The number of predictions that got the default label."""
        return self._join.assumed

    @property
    def compared(self) -> ComparedWindow | None:
        """The last full window of features, compared with the reference."""
        return self._monitor.compared

    def redeclare(self, max_pending: int, outliers: Outliers) -> None:
        """Apply the current declaration to a restored learner."""
        self._join.limit = max_pending
        if self.outliers.action != outliers:  # an equal string of another identity would change the snapshot
            self.outliers.action = outliers

    def store(self, store: BlockStore) -> None:
        """Store what the next snapshot then need not contain; raises `StateError`."""
        self._join.store(store)

    def load(self, store: BlockStore) -> None:
        """Read what a restored snapshot does not contain; raises `StateError`."""
        self._join.load(store)

    def predicted(self, prediction: Prediction, place: Position = NOWHERE) -> list[LearnerEvent]:
        """Handle a served prediction whose record is at position `place`."""
        events: list[LearnerEvent] = []
        time = prediction.time
        if time > self.now:
            self.now = time
            if self._join.is_due(time):
                self._expire(time, Record(*place, time, None, None, ()), events)
        context = tuple.__new__(SignalContext, (time, place, self.champion.version))
        value = self._task.monitored_value(prediction.score)
        events += self._monitor.served(prediction.features, value, context)
        joined = self._join.predicted(self._baselines.pending(prediction))
        if joined is not None:
            self._evaluate_and_learn(joined, events)
        if not self._task.learns_from_labels:
            outlier, failures = self._learn(prediction, None)
            if outlier:
                events.append(outlier)
            events += failures
            self._count_step(time)
        return events

    def labelled(self, label: Label) -> list[LearnerEvent]:
        """Handle a label."""
        events: list[LearnerEvent] = []
        if label.time > self.now:
            self.now = label.time
            if self._join.is_due(label.time):
                self._expire(label.time, label.record, events)
        if repetition := self._join.repetition(label):
            detail = f"a label for {label.id!r} was already received"
            events.append(DeadLabel(label.record, repetition, detail))
            return events
        joined = self._join.labelled(label)
        if joined is not None:
            self._evaluate_and_learn(joined, events)
        return events

    def challenged(self, message: ModelMessage) -> list[LearnerEvent]:
        """Handle a challenger from the models topic: train it from now on, and start its contest."""
        model = message.model
        if model.version in self.lineage:  # the learner's own snapshots are on the topic too
            return []
        retired = self.challenger
        self.lineage[model.version] = message.lineage
        self.challenger = model
        self._contest = Contest(self._policy.significance, self._policy.patience, self._policy.block)
        return [] if retired is None else [RoleChange("retired", retired)]

    def _expire(self, time: int, record: Record, events: list[LearnerEvent]) -> None:
        """Expire predictions and early labels; `record` advanced event time to `time` (ms)."""
        default = self._policy.default_label
        if default is None:
            self._join.give_up(time)
        else:
            for joined in self._join.assume(time, default, record):
                self._evaluate_and_learn(joined, events)
        for label in self._join.expire(time):
            detail = f"no prediction for {label.id!r} within the label wait"
            events.append(DeadLabel(label.record, "unknown-event", detail))

    def _evaluate_and_learn(self, joined: Joined, events: list[LearnerEvent]) -> None:
        prediction, label = joined.pending.prediction, joined.label
        self.evaluation.update(joined)
        error, wrong = self._error(prediction.score, label.truth)
        place = position(label.record)
        context = tuple.__new__(SignalContext, (label.time, place, self.champion.version))
        events += self._monitor.judged(error, wrong, prediction.time, prediction.features, context)
        outlier = None
        if self._task.learns_from_labels:
            outlier, failures = self._learn(prediction, label.truth)
            for failure in failures:
                events.append(DeadLabel(label.record, "model", failure.detail, failure.error))
        if outlier is None or LABEL not in outlier.outside:
            self._baselines.learn(label.truth)
        if outlier:
            events.append(outlier)
        elif self.challenger is not None:  # a single extreme loss must not decide the contest
            self._update_contest(prediction, label.truth, context, events)
        self._count_step(label.time)

    def _update_contest(
        self, prediction: Prediction, truth: Truth, context: SignalContext, events: list[LearnerEvent]
    ) -> None:
        for change in self._compare(prediction, truth):
            events.append(change)
            if change.role == "champion":
                events += self._monitor.promoted(context._replace(version=change.model.version))

    def _count_step(self, time: int) -> None:
        self.steps += 1
        if time > self.learned_until:
            self.learned_until = time

    def _learn(
        self, prediction: Prediction, truth: Truth | None
    ) -> tuple[Outlier | None, list[LearningFailure]]:
        """Train the models on an event; return its outliers, if any, and the failures."""
        if len(prediction.features) != len(self._names):
            return None, [LearningFailure("its prediction was made with another feature plan")]
        features, truth, outside = self.outliers.apply(prediction.features, truth)
        outlier = Outlier(prediction.id, outside) if outside else None
        if features is None:
            return outlier, []
        self._monitor.learned(prediction.time)
        failures = []
        for model in (self.champion, self.challenger):
            error = None if model is None else model.learn(features, truth)
            if model is not None and error is not None:
                detail = f"model {model.version} cannot learn it: {describe(error)}"
                failures.append(LearningFailure(detail, error))
        return outlier, failures

    def _compare(self, prediction: Prediction, truth: Truth) -> list[RoleChange]:
        """Update the contest with one labelled event; return the new roles if that decides it."""
        if self.challenger is None or self._contest is None:
            return []
        shadow = prediction.shadows.get(self.challenger.version)
        if shadow is None or prediction.version != self.champion.version:
            return []
        losses = (self._task.loss(score, truth) for score in (prediction.score, shadow))
        verdict = self._contest.update(*losses)
        if verdict == "open":
            return []
        challenger, champion = self.challenger, self.champion
        self.challenger = self._contest = None
        if verdict == "lost":
            return [RoleChange("retired", challenger)]
        self.champion = challenger
        return [RoleChange("champion", challenger), RoleChange("retired", champion)]


def position(record: Record) -> Position:
    """Return the position of a record in the log."""
    return tuple.__new__(Position, record[:3])  # the same three fields; the constructor takes twice as long
