"""The learner: joins labels, judges what was served, watches for drift, learns, and settles contests.

One object holds all of a pipeline's learning state, so that one snapshot moves it together. For each label
the order is fixed: evaluate the prediction that was served, feed the detector, then learn. The learn flow and
the backtest drive this same code.
"""

from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import NamedTuple

from flows.core.drift.concept import ConceptDrift
from flows.core.drift.features import ComparedWindow
from flows.core.drift.levels import Detector, Position
from flows.core.drift.monitor import DriftMonitor, MonitorSettings, SignalContext
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.evaluation import Baselines, Evaluation
from flows.core.evaluation.label_join import MAX_PENDING, Joined, Label, LabelJoin
from flows.core.learning.contest import Contest
from flows.core.learning.outliers import LABEL, OutlierFilter, Outliers, OutlierValue
from flows.core.models.model import Model, ModelMessage, Prediction, Role
from flows.core.models.tasks import Truth
from flows.core.stream.broker import Record
from flows.core.user_code import describe


class RoleChange(NamedTuple):
    """A contest has ended, or a newer challenger took the place of another: a model's new role."""

    role: Role
    model: Model


class DeadLabel(NamedTuple):
    """A label that cannot be used, with the reason and the detail for its dead letter.

    `error` is what the model raised, where it did.
    """

    record: Record
    reason: str
    detail: str
    error: Exception | None = None


class LearningFailure(NamedTuple):
    """A prediction that a model without need of labels cannot learn, with the detail for its dead letter.

    `error` is what the model raised, where it did.
    """

    detail: str
    error: Exception | None = None


class Outlier(NamedTuple):
    """A served row with values far outside the ranges before it; it is treated as the declaration says."""

    id: str
    outside: Mapping[str, OutlierValue]  # by feature, or `LABEL`


class Policy(NamedTuple):
    """The figures of a declaration that the learner goes by; durations in milliseconds."""

    label_wait: int
    delta: float
    warm_up: int
    cool_down: int
    significance: float
    patience: int
    block: int
    detector: Detector = "adwin"
    options: Mapping[str, object] = {}  # of the detector; `delta` is ADWIN's
    monitor: MonitorSettings = MonitorSettings()
    default_label: Truth | None = None
    max_pending: int = MAX_PENDING
    outliers: Outliers = "clip"


NOWHERE = Position("", 0, 0)


LearnerEvent = DriftSignal | RoleChange | DeadLabel | LearningFailure | Outlier


class Learner:
    """All learning state of one pipeline.

    `names` are the feature names in the order of a prediction's features.
    """

    def __init__(
        self, pipeline: str, policy: Policy, names: tuple[str, ...], champion: Model, evaluation: Evaluation
    ) -> None:
        self.pipeline = pipeline
        self.champion = champion
        self.challenger: Model | None = None
        self.lineage: dict[str, Mapping[str, object]] = {champion.version: {}}
        self.evaluation = evaluation
        self.now = 0  # the newest event time seen (ms)
        self.learned_until = 0  # the time of the last label or event learned (ms)
        self.steps = 0  # labels judged and events learned without
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
        self._watch = DriftMonitor(pipeline, policy.detector, drift, policy.monitor)
        self._contest: Contest | None = None

    @property
    def pending(self) -> int:
        """How many predictions wait for their label."""
        return len(self._join)

    @property
    def expired(self) -> int:
        """How many predictions no label came for in time."""
        return self._join.expired

    @property
    def evicted(self) -> int:
        """How many of those were given up before their time, since more waited than may."""
        return self._join.evicted

    @property
    def assumed(self) -> int:
        """How many predictions got the default label."""
        return self._join.assumed

    @property
    def compared(self) -> ComparedWindow | None:
        """The last window of features that was compared with the reference."""
        return self._watch.compared

    def redeclare(self, max_pending: int, outliers: Outliers) -> None:
        """Go by what the declaration of a restored learner says today."""
        self._join.limit = max_pending
        if self.outliers.action != outliers:  # else it stays the same object, and a snapshot the same bytes
            self.outliers.action = outliers

    def predicted(self, prediction: Prediction, place: Position = NOWHERE) -> Iterator[LearnerEvent]:
        """A prediction was served; its record stands at `place`."""
        yield from self._advance(prediction.time, Record(*place, prediction.time, None, None, ()))
        moment = SignalContext(prediction.time, place, self.champion.version)
        yield from self._watch.served(prediction.features, self._task.said(prediction.score), moment)
        joined = self._join.predicted(self._baselines.beside(prediction))
        if joined is not None:
            yield from self._judge_and_learn(joined)
        if not self._task.learns_from_labels:
            outlier, faults = self._learn(prediction, None)
            yield from [outlier] if outlier else []
            yield from starmap(LearningFailure, faults)
            self._stepped(prediction.time)

    def labelled(self, label: Label) -> Iterator[LearnerEvent]:
        """A label came."""
        yield from self._advance(label.time, label.record)
        if repetition := self._join.repetition(label):
            yield DeadLabel(label.record, repetition, f"a label for {label.id!r} was taken in before")
            return
        joined = self._join.labelled(label)
        if joined is not None:
            yield from self._judge_and_learn(joined)

    def challenged(self, message: ModelMessage) -> Iterator[RoleChange]:
        """The models topic brought a challenger: it learns on from here, and its scores are compared."""
        model = message.model
        if model.version in self.lineage:  # our own snapshots come back on the topic
            return
        if self.challenger is not None:
            yield RoleChange("retired", self.challenger)
        self.lineage[model.version] = message.lineage
        self.challenger = model
        self._contest = Contest(self._policy.significance, self._policy.patience, self._policy.block)

    def _advance(self, time: int, record: Record) -> Iterator[LearnerEvent]:
        """A record has brought event time to `time`: end what has waited too long."""
        if time <= self.now:
            return
        self.now = time
        default = self._policy.default_label
        if default is None:
            self._join.give_up(time)
        else:
            for joined in self._join.assume(time, default, record):
                yield from self._judge_and_learn(joined)
        for label in self._join.expire(time):
            detail = f"no prediction for {label.id!r} within the label wait"
            yield DeadLabel(label.record, "unknown-event", detail)

    def _judge_and_learn(self, joined: Joined) -> Iterator[LearnerEvent]:
        prediction, label = joined.pending.prediction, joined.label
        self.evaluation.update(joined)
        error, wrong = self._error(prediction.score, label.truth)
        moment = SignalContext(label.time, position(label.record), self.champion.version)
        yield from self._watch.judged(error, wrong, prediction.time, prediction.features, moment)
        outlier = None
        if self._task.learns_from_labels:
            outlier, faults = self._learn(prediction, label.truth)
            for detail, fault in faults:
                yield DeadLabel(label.record, "model", detail, fault)
        if outlier is None or LABEL not in outlier.outside:
            self._baselines.learn(label.truth)
        if outlier:  # its losses, which may be as large, must not decide a contest either
            yield outlier
        else:
            yield from self._settle(prediction, label.truth, moment)
        self._stepped(label.time)

    def _settle(self, prediction: Prediction, truth: Truth, moment: SignalContext) -> Iterator[LearnerEvent]:
        for settled in self._compare(prediction, truth):
            yield settled
            if settled.role == "champion":
                yield from self._watch.promoted(moment._replace(version=settled.model.version))

    def _stepped(self, time: int) -> None:
        self.steps += 1
        self.learned_until = max(self.learned_until, time)

    def _learn(
        self, prediction: Prediction, truth: Truth | None
    ) -> tuple[Outlier | None, list[tuple[str, Exception | None]]]:
        """Teach the models; returns the outlier, if it is one, and each fault with its error."""
        if len(prediction.features) != len(self._names):
            return None, [("its prediction was made with another feature plan", None)]
        features, truth, outside = self.outliers.lesson(prediction.features, truth)
        outlier = Outlier(prediction.id, outside) if outside else None
        if features is None:
            return outlier, []
        self._watch.learned(prediction.time)
        faults: list[tuple[str, Exception | None]] = [
            (f"model {model.version} cannot learn it: {describe(fault)}", fault)
            for model in (self.champion, self.challenger)
            if model is not None and (fault := model.learn(features, truth))
        ]
        return outlier, faults

    def _compare(self, prediction: Prediction, truth: Truth) -> Iterator[RoleChange]:
        if self.challenger is None or self._contest is None:
            return
        shadow = prediction.shadows.get(self.challenger.version)
        if shadow is None or prediction.version != self.champion.version:
            return
        losses = (self._task.loss(score, truth) for score in (prediction.score, shadow))
        verdict = self._contest.update(*losses)
        if verdict == "open":
            return
        challenger, champion = self.challenger, self.champion
        self.challenger = self._contest = None
        if verdict == "won":
            self.champion = challenger
            yield RoleChange("champion", challenger)
            yield RoleChange("retired", champion)
        else:
            yield RoleChange("retired", challenger)


def position(record: Record) -> Position:
    """The place of a record in the log."""
    return Position(record.topic, record.partition, record.offset)
