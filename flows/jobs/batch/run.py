"""Runs a batch: begins it or goes on with it, in one process or several, and joins the pieces."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from flows.core.models.model import Model
from flows.core.stream.broker import Broker
from flows.errors import ConfigError, DriftlineError
from flows.host.children import Children
from flows.jobs.batch.folder import BatchFolder, BatchJob
from flows.jobs.batch.history import BatchHistory, bounds_now, cut
from flows.jobs.batch.scoring import BatchScorer, batch_schema
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, load_engine


class ScoredBatch(NamedTuple):
    """The rows of a finished batch, the events without a row by reason, and the model that scored."""

    rows: int
    dead: Counter[str]
    model: Model


class _Ended(NamedTuple):
    """How a process ended, if not well."""

    error: str


def events_of(pipeline: Pipeline, name: str) -> Path | None:
    """Return the file that `name` is, None for the events topic; raises `ConfigError` for anything else."""
    if name == pipeline.events.topic:
        return None
    if not (file := Path(name)).is_file():
        raise ConfigError(
            f"EVENTS must be the topic {pipeline.events.topic!r} or a parquet file with its records, got "
            f"{name!r}; name one of them"
        )
    return file


def begin(
    running: Engine, broker: Broker, folder: BatchFolder, events: str, version: str, model: Model, parts: int
) -> BatchJob:
    """Begin a batch with this model over all present events, and return it."""
    pipeline, plan = running.pipeline, running.state.plan()
    batch_schema(pipeline, plan)  # fails before anything is computed
    file = events_of(pipeline, events)
    bounds = bounds_now(pipeline, broker, time.time_ns() // 1_000_000)
    history = BatchHistory(pipeline, plan, broker, bounds, file)
    pieces = cut(history.everything(), parts)
    batch = BatchJob(pipeline.name, _identity(events, file), version, plan.hash, bounds, pieces)
    folder.create(batch, running.sealer().seal_state(model))
    return batch


def check_same(running: Engine, batch: BatchJob, folder: BatchFolder, events: str, version: str) -> None:
    """Raise `ConfigError` if an unfinished batch scores something else, or with something else."""
    plan, identity = running.state.plan().hash, _identity(events, events_of(running.pipeline, events))
    wanted = (running.pipeline.name, identity, version, plan)
    found = (batch.pipeline, batch.events, batch.version, batch.plan)
    for name, mine, its in zip(("pipeline", "events", "version", "feature plan"), wanted, found, strict=True):
        if mine != its:
            raise ConfigError(
                f"{folder.path} holds an unfinished batch whose {name} is {its}, got {mine}; remove the "
                "folder to begin again, or name another --out"
            )


def run(running: Engine, folder: BatchFolder, batch: BatchJob, processes: int, events: str) -> Iterator[int]:
    """Start to score what is left of a batch; the iterator returned yields the numbers of events scored.

    It raises `DriftlineError` if a process fails.
    """
    numbers = range(len(batch.parts))
    if processes == 1:
        return score_parts(running, folder, batch, events, numbers)
    children = Children()
    started = [
        _start(children, running, folder, events, numbers[first::processes]) for first in range(processes)
    ]
    return _followed(dict(started), children)


def score_parts(
    running: Engine, folder: BatchFolder, batch: BatchJob, events: str, numbers: Sequence[int]
) -> Iterator[int]:
    """Score what is left of these parts; yield the number of events in each piece, 0 for an empty one."""
    pipeline, plan = running.pipeline, running.state.plan()
    model = folder.model(running.sealer())
    with closing(running.open_broker()) as broker:
        history = BatchHistory(pipeline, plan, broker, batch.bounds, events_of(pipeline, events))
        scorer = BatchScorer(pipeline, plan, model, history, running.stores.past_lookups)
        for number in numbers:
            for piece in scorer.pieces(folder.left(number, batch.parts[number])):
                folder.add(number, piece)
                yield piece.rows.num_rows + sum(piece.dead.values())


def finish(running: Engine, folder: BatchFolder, batch: BatchJob) -> ScoredBatch:
    """Write the output and remove the folder."""
    model = folder.model(running.sealer())
    schema = batch_schema(running.pipeline, running.state.plan())
    return ScoredBatch(*folder.finish(len(batch.parts), schema), model)


def lock_file(folder: BatchFolder) -> Path:
    """Return the file that a process locks while it runs a batch; the folder may be new."""
    if not folder.out.parent.is_dir():
        raise ConfigError(f"folder {folder.out.parent} does not exist; create it, or name another --out")
    folder.path.mkdir(exist_ok=True)
    return folder.path / "lock"


def _identity(events: str, file: Path | None) -> str:
    if file is None:
        return f"topic {events}"
    state = file.stat()
    return f"file {file.resolve()} of {state.st_size} bytes, changed at {state.st_mtime_ns}"


def _start(
    children: Children, running: Engine, folder: BatchFolder, events: str, numbers: Sequence[int]
) -> tuple[Connection, BaseProcess]:
    ours, theirs = Pipe(duplex=False)
    arguments = (running.pipeline.name, folder.out, events, tuple(numbers), theirs)
    process = children.start("driftline-score", _score_in_child, *arguments)
    theirs.close()  # so that the end of the process ends the pipe
    return ours, process


def _score_in_child(pipeline: str, out: Path, events: str, numbers: Sequence[int], to: Connection) -> int:
    try:
        folder = BatchFolder(out)
        batch = folder.batch()
        assert batch is not None
        for scored in score_parts(load_engine(pipeline), folder, batch, events, numbers):
            to.send(scored)
    except DriftlineError as error:
        to.send(_Ended(str(error)))
    return 0


def _followed(started: dict[Connection, BaseProcess], _children: Children) -> Iterator[int]:
    """Yield what the processes score until all have ended; raises `DriftlineError` if one fails.

    Without a reference to their `Children`, the processes would end.
    """
    faults: list[str] = []
    while started:
        for each in wait(list(started)):
            assert isinstance(each, Connection)
            try:
                received = each.recv()
            except EOFError:
                process = started.pop(each)
                process.join()
                if process.exitcode:
                    faults.append(f"a process ended with exit code {process.exitcode}")
                continue
            if isinstance(received, _Ended):
                faults.append(received.error)
            else:
                yield received
    if faults:
        raise DriftlineError(f"{faults[0]}; the same command goes on with what is left")
