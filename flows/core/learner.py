"""The learner: joins labels, judges what was served, watches for drift, learns, and settles contests.

One object holds all of a pipeline's learning state, so that one snapshot moves it together. For each label
the order is fixed: evaluate the prediction that was served, feed the detector, then learn. The learn flow and
the backtest drive this same code.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flows.core.broker import Record
from flows.core.cloudevents import DriftSignal, severity, signal_id
from flows.core.concept_drift import Alarm, ConceptDrift
from flows.core.contest import Contest
from flows.core.drift import Detector, Position
from flows.core.evaluation import Baselines, Evaluation
from flows.core.labels import Joined, Label, LabelJoin
from flows.core.models import Model, ModelMessage, Prediction, Role


class Settled(NamedTuple):
    """A contest has ended, or a newer challenger took the place of another: a model's new role."""

    role: Role
    model: Model


class DeadLabel(NamedTuple):
    """A label that cannot be used, with the reason and the detail for its dead letter."""

    record: Record
    reason: str
    detail: str


Happening = DriftSignal | Settled | DeadLabel


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
        self.signals = 0
        self.learned_until = 0  # the time of the last label learned (ms)
        self._names = names
        self._policy = policy
        self._baselines = Baselines()
        self._join = LabelJoin(policy.label_wait)
        options = {"delta": policy.delta} if policy.detector == "adwin" else policy.options
        self._drift = ConceptDrift(policy.detector, options, policy.warm_up, policy.cool_down)
        self._contest: Contest | None = None

    @property
    def pending(self) -> int:
        """How many predictions wait for their label."""
        return len(self._join)

    @property
    def expired(self) -> int:
        """How many predictions no label came for in time."""
        return self._join.expired

    def predicted(self, prediction: Prediction) -> Iterator[Happening]:
        """A prediction was served."""
        yield from self._advance(prediction.time)
        joined = self._join.predicted(self._baselines.beside(prediction))
        if joined is not None:
            yield from self._judge_and_learn(joined)

    def labelled(self, label: Label) -> Iterator[Happening]:
        """A label came."""
        yield from self._advance(label.time)
        if repetition := self._join.repetition(label):
            yield DeadLabel(label.record, repetition, f"a label for {label.id!r} was taken in before")
            return
        joined = self._join.labelled(label)
        if joined is not None:
            yield from self._judge_and_learn(joined)

    def challenged(self, message: ModelMessage) -> Iterator[Settled]:
        """The models topic brought a challenger: it learns on from here, and its scores are compared."""
        model = message.model
        if model.version in self.lineage:  # our own snapshots come back on the topic
            return
        if self.challenger is not None:
            yield Settled("retired", self.challenger)
        self.lineage[model.version] = message.lineage
        self.challenger = model
        self._contest = Contest(self._policy.significance, self._policy.patience, self._policy.block)

    def _advance(self, time: int) -> Iterator[DeadLabel]:
        """Event time has come to `time`: give up what has waited too long."""
        if time > self.now:
            self.now = time
            for label in self._join.expire(time):
                detail = f"no prediction for {label.id!r} within the label wait"
                yield DeadLabel(label.record, "unknown-event", detail)

    def _judge_and_learn(self, joined: Joined) -> Iterator[Happening]:
        prediction, label = joined.pending.prediction, joined.label
        self.evaluation.update(joined)
        error, wrong = (prediction.score - label.truth) ** 2, (prediction.score > 0.5) != label.truth
        alarm = self._drift.update(error, wrong, label.time, _position(label.record))
        if alarm is not None and alarm.level == "alarm":  # a warning asks for no challenger yet
            yield self._signal(alarm, label.time)
        self._baselines.learn(label.truth)
        yield from self._learn(prediction, label)
        yield from self._compare(prediction, label.truth)
        self.learned_until = max(self.learned_until, label.time)

    def _learn(self, prediction: Prediction, label: Label) -> Iterator[DeadLabel]:
        if len(prediction.features) != len(self._names):
            yield DeadLabel(label.record, "model", "its prediction was made with another feature plan")
            return
        features = dict(zip(self._names, prediction.features, strict=True))
        for model in (self.champion, self.challenger):
            if model is not None and (fault := model.learn(features, label.truth)):
                yield DeadLabel(label.record, "model", f"model {model.version} cannot learn it: {fault}")

    def _compare(self, prediction: Prediction, truth: bool) -> Iterator[Settled]:
        if self.challenger is None or self._contest is None:
            return
        shadow = prediction.shadows.get(self.challenger.version)
        if shadow is None or prediction.version != self.champion.version:
            return
        verdict = self._contest.update(prediction.score, shadow, truth)
        if verdict == "open":
            return
        challenger, champion = self.challenger, self.champion
        self.challenger = self._contest = None
        if verdict == "won":
            self.champion = challenger
            yield Settled("champion", challenger)
            yield Settled("retired", champion)
        else:
            yield Settled("retired", challenger)

    def _signal(self, alarm: Alarm, time: int) -> DriftSignal:
        self.signals += 1
        detector = self._policy.detector
        return DriftSignal(
            id=signal_id(self.pipeline, detector, *alarm.position),
            pipeline=self.pipeline,
            model_version=self.champion.version,
            detector=detector,
            kind="concept",
            severity=severity(alarm.before, alarm.after),
            sequence=self.signals,
            time=time,
            estimate_before=alarm.before,
            estimate_after=alarm.after,
            width=alarm.width,
            since=alarm.since,
            topic=alarm.position.topic,
            partition=alarm.position.partition,
            offset=alarm.position.offset,
        )


def _position(record: Record) -> Position:
    return Position(record.topic, record.partition, record.offset)
