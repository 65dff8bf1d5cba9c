"""Answers the triggers of a loop with the engine's candidates, as the retrain flow does."""

from collections.abc import Callable, Sequence
from copy import deepcopy

from flows.core.drift.signal import DriftSignal
from flows.core.learning.candidates.plans import CandidatePlan, plans
from flows.core.learning.candidates.search import Configuration, SearchResult, best_of, halve
from flows.core.learning.candidates.triggers import Measurement, MetricTriggers, Trigger, of_alarm
from flows.core.learning.events import Cause, LearnerEvent
from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.training import Training, prequential_loss
from flows.core.models.model import Model
from flows.core.stream.times import in_milliseconds
from flows.policies import RetrainPolicy
from scripts.benchmarks.retraining.loop import Loop

Configured = Callable[[str, Configuration], Model]

_MEASURED_EVERY = 1_000  # labels between two measurements


class Candidates:
    """Trains the candidates of each alarm, of the policy's schedule and of its first search.

    `configured` returns a model of the search, which needs one. `searches` has what was tried.
    """

    def __init__(self, policy: RetrainPolicy, configured: Configured | None = None) -> None:
        self.searches: list[SearchResult] = []
        self._policy = policy
        self._configured = configured
        self._window = 0 if policy.window is None else in_milliseconds(policy.window)
        schedule = None if policy.schedule is None else in_milliseconds(policy.schedule)
        cool_down = in_milliseconds(policy.cool_down)
        first = 0 if policy.search is None else policy.search.first
        self._metrics = MetricTriggers("loop", schedule, None, cool_down, self._window, first)
        self._trigger: Trigger | None = None

    def __call__(self, loop: Loop, events: Sequence[LearnerEvent]) -> None:
        """Note the triggers, and train the candidates of the last one."""
        for event in events:
            if isinstance(event, DriftSignal):
                self._trigger = of_alarm(event) or self._trigger
        if self._policy.reads_metrics and len(loop.known) % _MEASURED_EVERY == 0:
            at = Measurement(loop.learner.now, loop.learner.champion.version, {}, len(loop.known))
            self._trigger = self._metrics.measured(at) or self._trigger
        trigger = self._trigger
        if trigger is not None and len(loop.known_since(trigger.since)) >= self._policy.minimum_labels:
            self._trigger = None
            self._metrics.trained(trigger.time)
            self._answer(loop, trigger)

    def _answer(self, loop: Loop, trigger: Trigger) -> None:
        for plan in plans(trigger, self._window or None, self._policy.search is not None):
            made = self._found(loop, plan, trigger) if plan.kind == "search" else untrained(loop, plan)
            model = loop.trained(made, plan.since)
            loop.challenge(model, Cause(trigger.kind, trigger.why))

    def _found(self, loop: Loop, plan: CandidatePlan, trigger: Trigger) -> Model:
        """Return an untrained model of the best configuration."""
        assert self._policy.search is not None
        assert self._configured is not None
        configured, rows = self._configured, loop.known_since(plan.since)
        is_first = trigger.kind == "first"

        def loss_of(configuration: Configuration, size: int) -> float | None:
            outliers = OutlierFilter(loop.names, "clip")
            model = configured(configuration.name, configuration)
            training = Training(model, loop.names, outliers, _ignore)
            learned, unscored = (rows, len(rows) - size) if is_first else (rows[-size:], 0)
            return prequential_loss(training, (each.row for each in learned), unscored)

        configurations, half = self._policy.search.configurations(), len(rows) - len(rows) // 2
        search, count = (best_of, half) if is_first else (halve, len(rows))
        result = search(configurations, count, loss_of, lambda: False)
        self.searches.append(result)
        assert result.winner is not None
        return configured(plan.version, result.winner)


def untrained(loop: Loop, plan: CandidatePlan) -> Model:
    """Return the model that a plan without a search trains: a copy of the champion, or a new one."""
    if plan.kind != "warm":
        return loop.new_model(plan.version)
    champion = loop.champion
    return Model(plan.version, deepcopy(champion.estimator), champion.learned, champion.task)


def _ignore(error: Exception) -> None:
    """Leave out the row, as a training does."""
