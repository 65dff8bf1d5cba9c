"""Five ways to keep a model up to date, each run on a stream with a change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from math import log
from random import Random
from time import process_time
from typing import NamedTuple

from flows.core.learning.events import Cause, LearnerEvent
from flows.policies import RetrainPolicy
from scripts.benchmarks.retraining.candidates import Candidates
from scripts.benchmarks.retraining.loop import Loop, Respond, alarms, promotions, synthetic_loop
from scripts.benchmarks.retraining.streams import Stream, Task

WARM_UP = 2_500  # labels, after which the model that does not learn stops to
PERIOD = 2_500  # labels between two periodic trainings, each of which learns as many
BEFORE = 2_000  # events before the change, whose accuracy is the earlier score
NEXT = 500  # events over which the score is back
BACK = 0.95  # of the earlier score
LEAST = 1e-15  # the probability at which the loss is cut off, as in the engine

_WITHOUT_CONTEST = replace(RetrainPolicy(), probation=0)


class Result(NamedTuple):
    """What one way did on one stream.

    `back` is the number of labels from the change until the score is back, None if it never is. `loss` is the
    mean log loss from the beginning of the change on, `seconds` the CPU time of the whole run. `promoted`
    counts the changes of champion.
    """

    before: float
    back: int | None
    loss: float
    seconds: float
    alarms: int
    promoted: int


def _nothing(_: Loop, __: Sequence[LearnerEvent]) -> None:
    """Let the model learn online only."""


def _freeze(loop: Loop, _: Sequence[LearnerEvent]) -> None:
    if len(loop.known) == WARM_UP:
        loop.events += loop.learner.freeze(Cause("command", "the warm-up is over"))


def _resetting(_: int) -> Respond:
    versions = count(2)

    def reset(loop: Loop, events: Sequence[LearnerEvent]) -> None:
        if alarms(events):
            loop.replace(loop.new_model(f"v{next(versions)}"), Cause("alarm", "a cold reset"))

    return reset


def _periodic(seed: int) -> Respond:
    first = WARM_UP + Random(seed).randrange(PERIOD)  # noqa: S311  the change is anywhere in a period

    def train(loop: Loop, _: Sequence[LearnerEvent]) -> None:
        number, rest = divmod(len(loop.known) - first, PERIOD)
        if number >= 0 and rest == 0:
            model = loop.trained(loop.new_model(f"v{number + 2}"), loop.known[-PERIOD].time)
            loop.replace(model, Cause("schedule", "a period is over"))

    return train


class Way(NamedTuple):
    """A way to keep a model up to date; `respond` returns, for a seed, what is called after each label."""

    retrain: RetrainPolicy
    respond: Callable[[int], Respond]


WAYS: Mapping[str, Way] = {
    "the loop": Way(RetrainPolicy(), lambda _: Candidates(RetrainPolicy())),
    "online learning only": Way(RetrainPolicy(), lambda _: _nothing),
    "no learning": Way(RetrainPolicy(), lambda _: _freeze),
    "cold reset": Way(_WITHOUT_CONTEST, _resetting),
    "periodic": Way(_WITHOUT_CONTEST, _periodic),
}


def run(task: Task, stream: Stream, way: Way) -> Result:
    """Run one way on one stream."""
    began = process_time()
    loop = synthetic_loop(task, stream.names, way.retrain, way.respond(stream.seed))
    scores = list(loop.run(stream.rows))
    seconds = process_time() - began
    truths = [row.truth for row in stream.rows]
    hits = [(score >= 0.5) == truth for score, truth in zip(scores, truths, strict=True)]
    before = sum(hits[stream.began - BEFORE : stream.began]) / BEFORE
    losses = [_loss(score, truth) for score, truth in zip(scores, truths, strict=True)][stream.began :]
    return Result(
        before,
        _back(hits[stream.changed :], BACK * before),
        sum(losses) / len(losses),
        seconds,
        len(alarms(loop.events)),
        len(promotions(loop.events)),
    )


def _loss(score: float, truth: bool) -> float:
    return -log(max(score if truth else 1.0 - score, LEAST))


def _back(hits: Sequence[bool], enough: float) -> int | None:
    """Return the first place from which on the share of the next hits is enough."""
    right = sum(hits[:NEXT])
    for place in range(len(hits) - NEXT):
        if right >= enough * NEXT:
            return place
        right += hits[place + NEXT] - hits[place]
    return None
