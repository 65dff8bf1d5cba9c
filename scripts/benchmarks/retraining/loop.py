"""Drives the engine's learner over a stream: its detector, its candidates, its contests and promotions.

It is the code of the learn and the retrain flow, without a broker, features and other processes. A training
takes no time of the stream: a candidate has learned all labels that are known when it becomes a challenger.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from flows.core.drift.features import ComparedWindow
from flows.core.drift.levels import Position
from flows.core.drift.monitor import MonitorSettings
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import Label
from flows.core.learning.candidates.triggers import of_alarm
from flows.core.learning.events import Cause, LearnerEvent, RoleChange
from flows.core.learning.learner import Learner
from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.policy import Policy
from flows.core.learning.training import LabelledRow, Training
from flows.core.models.model import Model, ModelMessage, Prediction
from flows.core.models.tasks import BINARY
from flows.core.stream.broker import Record
from flows.core.stream.times import in_milliseconds
from flows.policies import DriftPolicy, RetrainPolicy
from scripts.benchmarks.retraining.streams import Row, Task

START = 1_700_000_000_000  # ms
STEP = 600_000  # ms between two events: the cool-down of an alarm is 1,008 of them
DELAY = 100  # events until a label is known
WAIT = 7 * 86_400_000  # ms


Respond = Callable[["Loop", Sequence[LearnerEvent]], None]


class KnownRow(NamedTuple):
    """A row, and the time (ms) at which its label was known."""

    time: int
    row: LabelledRow


class Loop:
    """A learner on a stream; `respond` is called after each label with the events that followed.

    `names` are those of the features, and `new_model` returns an untrained model of a version.
    """

    def __init__(
        self, names: tuple[str, ...], learner: Learner, new_model: Callable[[str], Model], respond: Respond
    ) -> None:
        self.names = names
        self.learner = learner
        self.new_model = new_model
        self.known: list[KnownRow] = []
        self.events: list[LearnerEvent] = []
        self._respond = respond
        self._features: dict[str, Sequence[Any]] = {}  # of the events whose label is not known

    @property
    def champion(self) -> Model:
        """The model whose score is served."""
        return self.learner.champion

    @property
    def compared(self) -> ComparedWindow | None:
        """The last full window of features, as the learner has it."""
        return self.learner.compared

    def run(self, rows: Sequence[Row]) -> Iterator[float]:
        """Yield the served score of each row; its label is learned `DELAY` events later."""
        for number, row in enumerate(rows):
            now = START + number * STEP
            yield self._serve(number, now, row.features)
            if number >= DELAY:
                record = Record("labels", 0, number - DELAY, now, None, None, ())
                self.labelled(Label(str(number - DELAY), now, rows[number - DELAY].truth, record))

    def predicted(self, prediction: Prediction, place: Position) -> list[LearnerEvent]:
        """Let the learner know a served prediction, with the scores of the models in the shadow."""
        self._features[prediction.id] = prediction.features
        if rivals := self.learner.roles.rivals:
            x = dict(zip(self.names, prediction.features, strict=True))
            shadows = {rival.model.version: rival.model.score(x) for rival in rivals}
            prediction = prediction._replace(shadows=shadows)
        events = self.learner.predicted(prediction, place)
        self.events += events
        return events

    def labelled(self, label: Label) -> list[LearnerEvent]:
        """Let the learner know a label, and answer what follows."""
        events = self.learner.labelled(label)
        self.known.append(KnownRow(label.time, LabelledRow(self._features.pop(label.id), label.truth)))
        self.events += events
        self._respond(self, events)
        return events

    def challenge(self, model: Model, cause: Cause) -> None:
        """Make a trained model a challenger."""
        now = self.learner.now
        message = ModelMessage("loop", "challenger", now, model, {"cause": cause.kind}, now)
        self.events += self.learner.challenged(message, cause)

    def replace(self, model: Model, cause: Cause) -> None:
        """Make a model the champion without a contest."""
        self.challenge(model, cause)
        self.events += self.learner.promote(model.version, cause)

    def trained(self, model: Model, since: int) -> Model:
        """Return the model when it has learned the labels known at `since` (ms) or later."""
        training = Training(model, self.names, OutlierFilter(self.names, "clip"), _fail)
        for each in self.known_since(since):
            training.learn(each.row)
        return model

    def known_since(self, since: int) -> Sequence[KnownRow]:
        """Return the rows whose label is known at `since` (ms) or later."""
        return self.known[bisect_left(self.known, since, key=lambda row: row.time) :]

    def _serve(self, number: int, time: int, features: tuple[float, ...]) -> float:
        champion = self.champion
        score: Any = champion.score(dict(zip(self.names, features, strict=True)))
        prediction = Prediction(str(number), time, score, champion.version, {}, features)
        self.predicted(prediction, Position("predictions", 0, number))
        return float(score)


def synthetic_loop(task: Task, names: tuple[str, ...], retrain: RetrainPolicy, respond: Respond) -> Loop:
    """Return a loop for a synthetic stream, which watches only the error."""
    drift = DriftPolicy()
    policy = Policy(
        label_wait=WAIT,
        delta=drift.delta,
        warm_up=drift.warm_up,
        cool_down=in_milliseconds(drift.cool_down),
        contests=retrain.contests(),
        monitor=MonitorSettings(kinds=("concept",)),
    )

    def new_model(version: str) -> Model:
        return Model(version, task.model(), task=BINARY)

    learner = Learner("loop", policy, names, new_model("v1"), Evaluation(BINARY.metrics, BINARY))
    return Loop(names, learner, new_model, respond)


def _fail(error: Exception) -> None:
    raise error


def alarms(events: Sequence[LearnerEvent]) -> list[DriftSignal]:
    """Return the alarms of concept drift among the events."""
    signals = [event for event in events if isinstance(event, DriftSignal)]
    return [signal for signal in signals if of_alarm(signal) is not None]


def promotions(events: Sequence[LearnerEvent]) -> list[RoleChange]:
    """Return the changes of champion among the events."""
    return [event for event in events if isinstance(event, RoleChange) and event.role == "champion"]
