"""`scripts/bench wrong-promotions`: how often a challenger that is not better replaces the champion.

The stream does not change. The champion has learned all labels. The challengers are the engine's candidates:
new models that learned the last labels, and a copy of the champion that learned them twice. All learn on. A
promotion is wrong if the expected loss of the promoted model, which is known of a synthetic concept, is not
below that of the champion.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table
from river.datasets import synth

from flows.core.learning.candidates.plans import plans
from flows.core.learning.candidates.triggers import Trigger
from flows.core.learning.events import Cause, LearnerEvent, RoleChange
from flows.core.models.model import Model
from flows.policies import RetrainPolicy
from scripts.benchmarks.retraining.candidates import Candidates, untrained
from scripts.benchmarks.retraining.loop import Loop, promotions, synthetic_loop
from scripts.benchmarks.retraining.streams import TASKS, stream

RUNS = 200
ALLOWED = 0.05  # of the runs
SIGNIFICANCES = (0.05, 0.01)  # the second is the default
CHALLENGERS = (1, 5)
NOISE = 0.1  # the share of wrong labels of the stream
JUDGES = 100_000  # the first seed of the events on which a promotion is judged
SAMPLE = 2_000  # of these events

console = Console()


class Plan(NamedTuple):
    """A run: the labels before the challengers come, and those until they are judged."""

    challengers: int
    before: int = 2_000
    labels: int = 5_000


class Challenge:
    """Makes challengers once, when the champion has learned enough, and judges each promotion.

    An alarm is false here. It is answered as in the loop.
    """

    def __init__(self, plan: Plan, seed: int, policy: RetrainPolicy) -> None:
        self.promoted = 0
        self.wrong = 0
        self._plan = plan
        self._answer = Candidates(policy)
        self._champion: Model | None = None
        self._judged_on = list(islice(synth.SEA(variant=2, noise=0.0, seed=JUDGES + seed), SAMPLE))

    def __call__(self, loop: Loop, events: Sequence[LearnerEvent]) -> None:
        """Train the challengers after the last label before them; judge the promotions among the events."""
        seen = len(loop.events)
        if len(loop.known) == self._plan.before:
            self._challenge(loop)
        self._answer(loop, events)
        champion = self._champion or loop.champion
        for change in promotions([*events, *loop.events[seen:]]):
            self.promoted += 1
            self.wrong += self._expected_loss(change.model) >= self._expected_loss(champion)
            champion = change.model
        self._champion = champion

    def _challenge(self, loop: Loop) -> None:
        for number in range(self._plan.challengers):
            learned = self._plan.before // (2 * number + 2)  # the last half, fourth, sixth, ... of the labels
            since, version = loop.known[-learned].time, f"v{number + 2}"
            trigger = Trigger(
                "command", version, version, "a command", since, loop.learner.now, loop.champion.version
            )
            fresh, warm = plans(trigger, None, has_search=False)
            plan = warm if number == 1 else fresh
            loop.challenge(loop.trained(untrained(loop, plan), plan.since), Cause("command", trigger.why))

    def _expected_loss(self, model: Model) -> float:
        """Return the mean over events of the loss that is expected from the probability of their labels."""
        total, loss = 0.0, model.task.loss
        for x, y in self._judged_on:
            score = model.score({str(name): value for name, value in x.items()})
            total += (1 - NOISE) * loss(score, bool(y)) + NOISE * loss(score, not y)
        return total / SAMPLE


class Outcome(NamedTuple):
    """The challengers that came, the promotions, and those of a model that was not better."""

    challengers: int
    promoted: int
    wrong: int


def run(seed: int, plan: Plan, policy: RetrainPolicy) -> Outcome:
    """Run the learner with challengers on one stream of SEA that does not change."""
    made = stream(TASKS[0], "none", seed, plan.before + plan.labels)
    policy = replace(policy, patience=plan.labels)
    challenge = Challenge(plan, seed, policy)
    loop = synthetic_loop(TASKS[0], made.names, policy, challenge)
    for _ in loop.run(made.rows):
        pass
    came = [each for each in loop.events if isinstance(each, RoleChange) and each.cause.kind == "command"]
    return Outcome(len(came), challenge.promoted, challenge.wrong)


def main() -> int:
    """Print in how many runs a challenger was promoted; return 1 if too many were wrong."""
    table = Table("significance", "challengers at once", "runs", "with a promotion", "with a wrong one")
    worst = 0
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for significance in SIGNIFICANCES:
            policy = RetrainPolicy(challengers=max(CHALLENGERS), significance=significance)
            for challengers in CHALLENGERS:
                one = partial(run, plan=Plan(challengers), policy=policy)
                runs = track(pool.map(one, range(RUNS)), "runs", RUNS, console=console, transient=True)
                found = list(runs)
                promoted, wrong = (sum(each[at] > 0 for each in found) for at in (1, 2))
                worst = max(worst, wrong)
                table.add_row(*map(str, (significance, challengers, RUNS, promoted, wrong)))
    console.print(table)
    return int(worst > ALLOWED * RUNS)
