"""The jobs of a trainer, each in a process of its own: train a candidate, or measure a configuration.

A job sends its progress and one result, and returns the exit code of its process.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from flows.core.learning.candidates.recent import KEPT
from flows.core.learning.candidates.search import Configuration
from flows.core.learning.training import LabelledRow, Training, prequential_loss
from flows.core.models.model import ModelMessage
from flows.core.stream.times import in_milliseconds, iso
from flows.core.user_code import describe
from flows.host.memory import limit_growth
from flows.runtime.engine import Engine
from flows.runtime.project import load_project
from flows.runtime.training.candidates import CandidateJob, lineage_of, origin_of, training_of
from flows.runtime.training.logged_rows import LoggedRows
from flows.runtime.training.messages import (
    Dropped,
    JobResult,
    Measured,
    RowsCounted,
    Trained,
    TrainerPlace,
    TrainingProgress,
    Waiting,
)

_PROGRESS_EVERY = 1.0  # seconds
_CHECKED_ROWS = 64  # between looks at the clock
_KNOWN = KEPT // 2  # labels that a candidate may miss, since the learner knows the last ones
_ROUNDS = 10  # in which a training reads what came while it learned

_MEGABYTE = 2**20
_BACKSTOP = 2  # times the declared memory

_log = logging.getLogger("driftline.retrain")
_loaded: dict[tuple[Path, str], Engine] = {}


class Span(NamedTuple):
    """The labels known from `since` to `until` (ms)."""

    since: int
    until: int


class Measuring(NamedTuple):
    """A configuration to measure without the first `skipped` rows, and not on the `unscored` next ones."""

    configuration: Configuration
    skipped: int
    unscored: int


def load(place: TrainerPlace) -> Engine:
    """Return the engine of a pipeline; a forked job has it from its trainer. Raises `ConfigError`."""
    key = place.project, place.pipeline
    if key not in _loaded:
        project = load_project(place.project)
        _loaded[key] = Engine(project, place.settings, project.pipeline(place.pipeline))
    return _loaded[key]


def train_candidate(place: TrainerPlace, job: CandidateJob, out: Connection) -> int:
    """Train a candidate on the labels until its trigger, and send it.

    It learns later ones too if there are too few until then, or more than the learner still knows.
    """
    return _sent(place, out, lambda: _candidate(load(place), job, out))


def count_rows(place: TrainerPlace, span: Span, out: Connection) -> int:
    """Send the number of rows in a span."""

    def counted(rows: Iterable[LabelledRow]) -> int:
        return sum(1 for _ in rows)

    return _sent(place, out, lambda: RowsCounted(_with_rows(load(place), span, counted)))


def measure(place: TrainerPlace, span: Span, asked: Measuring, out: Connection) -> int:
    """Send the prequential loss of a configuration over the rows in a span."""
    engine, (configuration, skipped, unscored) = load(place), asked

    def measured(rows: Iterable[LabelledRow]) -> float | None:
        training = training_of(engine, engine.pipeline.configured_model(configuration.name, configuration))
        learned = _with_progress(islice(rows, skipped, None), training, out)
        return prequential_loss(training, learned, unscored)

    return _sent(place, out, lambda: Measured(_with_rows(engine, span, measured)))


def _sent(place: TrainerPlace, out: Connection, job: Callable[[], JobResult]) -> int:
    """Send the result of a job; one that fails drops the candidate.

    The trainer watches the memory of the job. The limit here is the backstop if the machine is too busy.
    """
    memory = load(place).pipeline.retrain.memory
    limit_growth(_BACKSTOP * memory * _MEGABYTE)
    try:
        out.send(job())
    except MemoryError:
        out.send(Dropped("", "over-memory", f"it took more than the memory of {memory:,} MB"))
    except Exception as error:  # a model is user code
        out.send(Dropped("", "failed", describe(error)))
    return 0


def _with_rows(engine: Engine, span: Span, use: Callable[[Iterable[LabelledRow]], Any]) -> Any:
    with closing(engine.open_broker()) as broker:
        return use(LoggedRows(broker, engine.pipeline, span.since).read_until(span.until))


def _candidate(engine: Engine, job: CandidateJob, out: Connection) -> Trained | Dropped | Waiting:
    pipeline, plan = engine.pipeline, job.plan
    with closing(engine.open_broker()) as broker:
        origin = origin_of(engine, job, broker)
        if origin is None:
            return Dropped(plan.version, "no-champion", "no champion is on the models topic yet")
        training, logged = training_of(engine, origin.model), LoggedRows(broker, pipeline, plan.since)
        _learn(training, logged.read_until(job.trigger.time), out)
        least, rounds = pipeline.retrain.minimum_labels, 0
        while rounds < _ROUNDS and (logged.remaining() > _KNOWN or (training.rows < least and not rounds)):
            _learn(training, logged.read(), out)
            rounds += 1
    if training.rows < least:
        detail = f"only {training.rows:,} of {least:,} labels since {iso(plan.since)}"
        is_final = logged.now >= job.trigger.time + in_milliseconds(pipeline.retrain.cool_down)
        version = plan.version
        return Dropped(version, "too-few-labels", detail) if is_final else Waiting(version, detail)
    sealer, time, name = engine.sealer(), job.trigger.time, pipeline.name
    content = sealer.pickle(origin.model)
    lineage = lineage_of(engine, job, origin, training.rows, logged.cut(), content)
    message = ModelMessage(name, "candidate", time, origin.model, lineage, time)
    return Trained(plan.version, sealer.record(pipeline.topic("models"), message, content))


def _learn(training: Training, rows: Iterable[LabelledRow], out: Connection) -> None:
    for row in _with_progress(rows, training, out):
        training.learn(row)


def _with_progress(rows: Iterable[LabelledRow], training: Training, out: Connection) -> Iterator[LabelledRow]:
    """Yield the rows, and send the progress now and then."""
    due = time.monotonic()
    for number, row in enumerate(rows):
        if number % _CHECKED_ROWS == 0 and time.monotonic() >= due:
            due = time.monotonic() + _PROGRESS_EVERY
            out.send(TrainingProgress(training.model.version, training.rows))
        yield row
