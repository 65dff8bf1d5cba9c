"""Runs the search of an example over its data set: a backtest whose learner has candidates.

The cards declare theirs; the flights get a first search here. It is the code of the predict, learn and
retrain flows, without a broker and other processes: a label is learned when it is known, and a training
takes no time of the stream.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from rich.console import Console
from sklearn.metrics import average_precision_score, log_loss

from flows.backtest.backtest import Backtest
from flows.core.drift.levels import Position
from flows.core.evaluation.label_join import Label
from flows.core.learning.events import LearnerEvent, RoleChange
from flows.core.learning.learner import Learner
from flows.core.models.model import Prediction
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import in_milliseconds, iso
from flows.host.functions import load_transformer
from flows.pipelines import flight_delays
from flows.policies import Search
from flows.runtime.learner import new_learner
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.benchmarks.retraining.candidates import Candidates
from scripts.benchmarks.retraining.loop import Loop
from scripts.tools.fresh import fresh_folder

_TOLD_EVERY = 30.0  # seconds

console = Console(width=max(Console().width, 140))


FIRST = 5000  # labels of the first search
FLIGHTS_SEARCH = Search(
    {"linear": flight_delays.model, "binned": flight_delays.binned},
    {"binned": {"rate": (0.01, 0.02, 0.05)}},
    first=FIRST,
)


class Span(NamedTuple):
    """The events of an example that are judged, from `since` to before `until` (ms), and its own search."""

    pipeline: str
    since: int
    until: int
    search: Search | None = None


def span(pipeline: str, since: datetime, until: datetime, search: Search | None = None) -> Span:
    """Return the span between two times."""
    return Span(pipeline, *(round(each.timestamp() * 1000) for each in (since, until)), search)


FLIGHTS = span(
    "flight_delays", datetime(2013, 2, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), FLIGHTS_SEARCH
)
CARDS = span("card_fraud", datetime(2018, 8, 8, tzinfo=UTC), datetime(2018, 8, 15, tzinfo=UTC))


class ServedLoop(Loop):
    """A loop that keeps the served scores and the truths of a span."""

    judged: Span

    def begin(self, judged: Span) -> None:
        """Set the span."""
        self.judged = judged
        self.pending: dict[str, float] = {}
        self.scores: list[float] = []
        self.truths: list[bool] = []

    def predicted(self, prediction: Prediction, place: Position) -> list[LearnerEvent]:
        """Keep the served score of an event in the span."""
        if self.judged.since <= prediction.time < self.judged.until:
            self.pending[prediction.id] = cast("float", prediction.score)
        return super().predicted(prediction, place)

    def labelled(self, label: Label) -> list[LearnerEvent]:
        """Keep the label of an event in the span, and print the changes of roles."""
        score = self.pending.pop(label.id, None)
        if score is not None:
            self.scores.append(score)
            self.truths.append(bool(label.truth))
        before = len(self.events)
        events = super().labelled(label)
        print_roles(label.time, self.events[before:])
        return events


def print_roles(now: int, events: Sequence[LearnerEvent]) -> None:
    """Print the changes of roles."""
    for event in events:
        if isinstance(event, RoleChange):
            told = (
                f"{iso(now)[:16]} {event.role} {event.model.version}: {event.cause.kind}, {event.cause.why}"
            )
            console.print(told, dict(event.cause.figures) or "", highlight=False)


def run(judged: Span, data: Path | None) -> None:
    """Run the example until the last label of the span, and print what it served."""
    site = Site(fresh_folder(BENCH / "search" / judged.pipeline, judged.pipeline))
    declared, plan = site.engine.pipeline, site.engine.state.plan()
    pipeline = replace(
        declared,
        drift=replace(declared.drift, kinds=("concept",)),  # only that trains
        retrain=replace(declared.retrain, search=judged.search or declared.retrain.search),
    )
    candidates = Candidates(pipeline.retrain, pipeline.configured_model)
    names = pipeline.feature_names(plan)
    loop = ServedLoop(names, new_learner(pipeline, plan), pipeline.new_model, candidates)
    loop.begin(judged)
    test = Backtest(pipeline, plan, cast("Learner", loop), load_transformer(plan))
    end, tell_at, began = judged.until + in_milliseconds(pipeline.label_wait), 0.0, time.monotonic()

    def is_before_end(record: Outgoing) -> bool:
        return (record.timestamp or 0) < end

    for _ in test.run(takewhile(is_before_end, pipeline.load_dataset(None, data))):
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + _TOLD_EVERY
            seconds = round(time.monotonic() - began)
            console.print(
                f"{seconds} s: {iso(loop.learner.now)[:16]}, {len(loop.known):,} labels", highlight=False
            )
    for search in candidates.searches:
        console.print(search.told())
    scores, truths = np.array(loop.scores), np.array(loop.truths)
    console.print(
        f"{judged.pipeline}, {len(scores):,} events from {iso(judged.since)[:10]} to before "
        f"{iso(judged.until)[:10]}: log loss {log_loss(truths, scores):.4f}, "
        f"average precision {average_precision_score(truths, scores):.4f}",
        highlight=False,
    )


def main(*files: Path) -> None:
    """Run the flights, or with their file the cards."""
    if files:
        run(CARDS, files[0].resolve())
    else:
        run(FLIGHTS, None)
