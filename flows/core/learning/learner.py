"""The learner: joins labels, evaluates predictions, detects drift, trains models, and decides contests.

One object holds the whole learning state of a pipeline, so one snapshot is consistent. The order for each
label is fixed: evaluate the served prediction, update the drift detectors, then learn. The learn flow and the
backtest run this same code. Models learn several labels at once where nothing reads a model in between.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from flows.core.block_store import BlockStore
from flows.core.drift.concept import ConceptDrift
from flows.core.drift.features import ComparedWindow
from flows.core.drift.levels import Position
from flows.core.drift.monitor import DriftMonitor, SignalContext
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.evaluation import Baselines, Evaluation
from flows.core.evaluation.label_join import Joined, Label, LabelJoin
from flows.core.explaining.importance import importance
from flows.core.learning.candidates.cuts import Cut
from flows.core.learning.candidates.recent import RecentRows
from flows.core.learning.events import (
    Cause,
    DeadLabel,
    LearnerEvent,
    LearningFailure,
    RoleChange,
    RoleEvent,
)
from flows.core.learning.lessons import Lessons, unlearned
from flows.core.learning.outliers import LABEL, OutlierFilter, Outliers
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.learning.replay import RegisteredState
from flows.core.learning.roles import Roles
from flows.core.learning.training import LabelledRow, Training
from flows.core.lineage import is_declared
from flows.core.models.model import Model, ModelMessage, Prediction
from flows.core.stream.broker import Record
from flows.core.stream.fields import Number
from flows.errors import RoleError, StaleSnapshot

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

NOWHERE = Position("", 0, 0)


class Learner:
    """The learning state of one pipeline.

    `names` are the feature names in the order of a prediction's features. Methods that handle an input or a
    command return the events that follow from it. A command that is impossible raises `RoleError` and changes
    nothing; its `place` is the position of its record.
    """

    def __init__(
        self, pipeline: str, policy: Policy, names: tuple[str, ...], champion: Model, evaluation: Evaluation
    ) -> None:
        self.pipeline = pipeline
        self.roles = Roles(champion, policy.contests)
        self.lineage: dict[str, Mapping[str, object]] = {champion.version: {}}
        self.evaluation = evaluation
        self.now = 0  # the latest event time (ms)
        self.learned_until = 0  # the latest time (ms) of a label or event learned
        self.steps = 0  # labels evaluated, and events learned without labels
        self.outliers = OutlierFilter(names, policy.outliers)
        self.recent = RecentRows()
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
        self._derive()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state, which holds no waiting labels."""
        assert not self._waiting, "call `learn` before the learner is stored"
        derived = ("_waiting", "_learns_in_order", "_lessons")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._derive()

    def _derive(self) -> None:
        """Set what is not stored."""
        self._waiting: list[Joined] = []  # labels that the champion, which is alone, has yet to learn
        self._learns_in_order = self._must_learn_in_order()
        self._lessons = Lessons(self._names, self.outliers, self.roles)

    @property
    def champion(self) -> Model:
        """The model whose score is served."""
        return self.roles.champion

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

    @property
    def open_signals(self) -> Sequence[DriftSignal]:
        """The drift signals that are not resolved yet."""
        return self._monitor.open_signals

    def redeclare(self, max_pending: int, outliers: Outliers, contests: ContestPolicy) -> None:
        """Apply the current declaration to a restored learner; contests that have begun keep their rules."""
        self._join.limit = max_pending
        if self.roles.policy != contests:  # an equal object of another identity would change the snapshot
            self.roles.policy = contests
        if self.outliers.action != outliers:
            self.outliers.action = outliers
        self._learns_in_order = self._must_learn_in_order()

    def store(self, store: BlockStore) -> None:
        """Store what the next snapshot then need not contain; raises `StateError`."""
        self._join.store(store)

    def load(self, store: BlockStore) -> None:
        """Read what a restored snapshot does not contain; raises `StateError`."""
        self._join.load(store)

    def predicted(self, prediction: Prediction, place: Position = NOWHERE) -> list[LearnerEvent]:
        """Handle a served prediction whose record is at position `place`."""
        events: list[LearnerEvent] = []
        self.add_prediction(prediction, place, events)
        self.learn(events)
        return events

    def labelled(self, label: Label) -> list[LearnerEvent]:
        """Handle a label."""
        events: list[LearnerEvent] = []
        self.add_label(label, events)
        self.learn(events)
        return events

    def add_prediction(self, prediction: Prediction, place: Position, events: list[LearnerEvent]) -> None:
        """Handle a prediction, and add the events that follow; the models learn when `learn` is called."""
        time = prediction.time
        if time > self.now:
            self.now = time
            if self._join.is_due(time):
                self._expire(time, Record(*place, time, None, None, ()), events)
        context = _tuple(SignalContext, (time, place, self.roles.champion.version))
        value = self._task.monitored_value(prediction.score)
        if found := self._monitor.served(prediction.features, value, context):
            events += found
            if self._monitor.attributable:
                self._attribute(context, events)
        joined = self._join.predicted(self._baselines.pending(prediction))
        if joined is not None:
            self._evaluate(joined, events)
            if self._task.learns_from_labels:
                self.recent.add(joined)
        if not self._task.learns_from_labels:
            self.recent.add_event(prediction, place.partition, place.offset)
            outlier, failures = self._lessons.event(prediction, None)
            if outlier is None or self.outliers.action != "skip":
                self._count_learned(prediction)
            if outlier:
                events.append(outlier)
            events += failures
            self._count_step(time)

    def add_label(self, label: Label, events: list[LearnerEvent]) -> None:
        """Handle a label, and add the events that follow; the models learn when `learn` is called."""
        time = label.time
        if time > self.now:
            self.now = time
            if self._join.is_due(time):
                self._expire(time, label.record, events)
        joined = self._join.labelled(label)
        if isinstance(joined, str):
            detail = f"a label for {label.id!r} was already received"
            events.append(DeadLabel(label.record, joined, detail))
        elif joined is not None:
            self._evaluate(joined, events)
            if self._task.learns_from_labels:
                self.recent.add(joined)

    def learn(self, events: list[LearnerEvent]) -> None:
        """Train the models on the labels added since the last call, and add the events that follow.

        Call it before a model is read or the learner is stored. How many labels it trains on at once does not
        affect the models.
        """
        waiting, self._waiting = self._waiting, []
        self._lessons.labels(waiting, events)

    def challenged(
        self, message: ModelMessage, cause: Cause, cut: Cut | None = None, place: Position = NOWHERE
    ) -> list[LearnerEvent]:
        """Handle a challenger from the models topic: train it from now on, and start its contest.

        With the `cut` of its training it first learns the labels since then. The winner of the first search
        has no contest: it replaces the declared model; `place` is the position of its record. Raises
        `StaleSnapshot` if the labels since the training are no longer known.
        """
        if message.model.version in self.lineage:  # the learner's own snapshots are on the topic too
            return []
        events: list[LearnerEvent] = []
        self.learn(events)  # what the challenger does not learn
        if cut is not None:
            self._catch_up(message.model, cut, events)
        self.lineage[message.model.version] = message.lineage
        is_first = cause.kind == "first" and is_declared(self.lineage[self.champion.version])
        events += self._announced(self.roles.challenge(message.model, cause), self.now, place)
        if is_first and self.roles.is_open:
            events += self.promote(message.model.version, cause, place)
        return events

    def promote(self, version: str, cause: Cause, place: Position = NOWHERE) -> list[LearnerEvent]:
        """Make a model in the shadow the champion; while there is one, no label waits to be learned."""
        return self._announced(self.roles.promote(version, cause), self.now, place)

    def retire(self, version: str, cause: Cause) -> list[LearnerEvent]:
        """Take a model out of the shadow."""
        return [*self.roles.retire(version, cause)]

    def roll_back(
        self, model: Model, lineage: Mapping[str, object], cause: Cause, place: Position = NOWHERE
    ) -> list[LearnerEvent]:
        """Make a new version with an old state the champion, which learns on from that state.

        The champion before it becomes a challenger: it learns, and only a person promotes it again. Call
        `retire` to end that, and `freeze` to serve the old state unchanged.
        """
        if model.version in self.lineage or model.task.name != self._task.name:
            raise RoleError(
                f"a rollback must be to a new version of task {self._task.name!r}, got {model.version!r} of "
                f"{model.task.name!r}; give the old state a version of its own"
            )
        events: list[LearnerEvent] = []
        self.learn(events)
        self.lineage[model.version] = lineage
        return events + self._announced(self.roles.roll_back(model, cause), self.now, place)

    def freeze(self, cause: Cause) -> list[LearnerEvent]:
        """Let the champion learn no more, until `unfreeze` or until another model becomes champion."""
        events: list[LearnerEvent] = []
        self.learn(events)
        return [*events, *self.roles.freeze(cause)]

    def unfreeze(self, cause: Cause) -> list[LearnerEvent]:
        """Let the champion learn again."""
        return [*self.roles.unfreeze(cause)]

    def registered(self, model: Model) -> RegisteredState:
        """Return what is stored of one of the models; call `learn` before."""
        assert not self._waiting, "call `learn` before a model is registered"
        return RegisteredState(model.estimator, self.outliers, self.recent.count)

    def _must_learn_in_order(self) -> bool:
        """Return whether what a label's outliers decide must be known before the next record.

        A number that is an outlier itself does not change the baselines, and a skipped row not the warm-up.
        """
        is_number = issubclass(self._task.target, Number)
        return is_number or not self._task.learns_from_labels or self.outliers.action == "skip"

    def _expire(self, time: int, record: Record, events: list[LearnerEvent]) -> None:
        """Expire predictions and early labels; `record` advanced event time to `time` (ms)."""
        default = self._policy.default_label
        if default is None:
            self._join.give_up(time)
        else:
            for joined in self._join.assume(time, default, record):
                self._evaluate(joined, events)
                if self._task.learns_from_labels:
                    self.recent.add_assumed(joined)
        for label in self._join.expire(time):
            detail = f"no prediction for {label.id!r} within the label wait"
            events.append(DeadLabel(label.record, "unknown-event", detail))

    def _evaluate(self, joined: Joined, events: list[LearnerEvent]) -> None:
        """Evaluate a labelled prediction and detect drift; the models learn it now, or with later ones."""
        prediction, label = joined[0][0], joined[1]
        self.evaluation.update(joined)
        error, wrong = self._error(prediction.score, label.truth)
        features = prediction.features
        found = self._monitor.judged(error, wrong, prediction.time, features, self._context(label))
        if found:
            events += found
        if self._learns_in_order or not self.roles.is_alone:
            self._learn_in_order(joined, events)
        else:
            self._waiting.append(joined)
            self._count_learned(prediction)
            self._baselines.learn(label.truth)
        self._count_step(label.time)

    def _attribute(self, context: SignalContext, events: list[LearnerEvent]) -> None:
        """Compare what the champion's features contribute in a full window of served predictions."""
        self.learn(events)
        rows = self.outliers.without_outliers(self._monitor.attributable)
        found = importance(self.champion, [dict(zip(self._names, row, strict=True)) for row in rows])
        inputs, leaves = ({}, 0) if found is None else found
        events += self._monitor.attributed(inputs, leaves, context)

    def _catch_up(self, model: Model, cut: Cut, events: list[LearnerEvent]) -> None:
        """Train a candidate on the labels since its training; outliers change no range a second time."""
        missed = self.recent.missed(cut)
        if missed is None:
            raise StaleSnapshot(
                f"a candidate must miss none of the labels before the last {len(self.recent):,}, got "
                f"{model.version}, which does; it was ignored, and the next training makes another"
            )
        failed = lambda error: events.append(LearningFailure(unlearned(model, error), error))  # noqa: E731
        training = Training(model, self._names, deepcopy(self.outliers), failed)
        for row in missed:
            training.learn(LabelledRow(row.features, row.truth))

    def _context(self, label: Label) -> SignalContext:
        return _tuple(SignalContext, (label.time, position(label.record), self.roles.champion.version))

    def _learn_in_order(self, joined: Joined, events: list[LearnerEvent]) -> None:
        """Learn a label whose outliers decide what else follows from it."""
        prediction, truth = joined.pending.prediction, joined.label.truth
        outlier = self._lessons.label(joined, events) if self._task.learns_from_labels else None
        if outlier is None or LABEL not in outlier.outside:
            self._baselines.learn(truth)
        if self._task.learns_from_labels and (outlier is None or self.outliers.action != "skip"):
            self._count_learned(prediction)
        if outlier is None and self.roles.rivals:  # an extreme loss must not decide a contest
            label = joined.label
            events += self._announced(
                self.roles.compare(prediction, truth), label.time, position(label.record)
            )

    def _announced(self, changes: Sequence[RoleEvent], time: int, place: Position) -> list[LearnerEvent]:
        """Return the changes of roles, and the end of drift signals of a champion that was replaced."""
        events: list[LearnerEvent] = []
        for change in changes:
            events.append(change)
            if isinstance(change, RoleChange) and change.role == "champion":
                context = _tuple(SignalContext, (time, place, change.model.version))
                events += self._monitor.promoted(context)
        return events

    def _count_step(self, time: int) -> None:
        self.steps += 1
        if time > self.learned_until:
            self.learned_until = time

    def _count_learned(self, prediction: Prediction) -> None:
        if len(prediction.features) == len(self._names):
            self._monitor.learned(prediction.time)


def position(record: Record) -> Position:
    """Return the position of a record in the log."""
    return _tuple(Position, record[:3])
