"""Runs one of the five flows in this process: `python -m flows.runtime.runner predict`."""

import argparse
import faulthandler
import gc
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from flows.adapters.bytewax import recovery
from flows.adapters.bytewax.idle import ALONE, Idle
from flows.adapters.prometheus import metrics
from flows.adapters.prometheus.health_server import health_server
from flows.errors import (
    AccessDenied,
    ConfigError,
    DriftlineError,
    EngineConflict,
    RecordTooLarge,
    SnapshotError,
    UnknownTopic,
    UnknownVersion,
)
from flows.host import state_dir
from flows.host.children import GRACE
from flows.host.printable import PrintableFormatter, printable_lines
from flows.pipeline import Pipeline
from flows.runtime import broker_url
from flows.runtime.engine import Engine, drain_on_signals, load_engine
from flows.runtime.locks import alone, one_of, runs_here
from flows.runtime.telemetry import Telemetry
from flows.runtime.topics import check_slots

FLOWS = ("predict", "learn", "materialize", "alert", "retrain")
DUMP_STACKS = signal.SIGQUIT  # makes a flow write the stack of each of its threads to standard error
BACKGROUND = ("materialize", "retrain")  # run at low priority, so that predictions are not delayed

_WAKING = 0.5  # seconds
_PORTS = 10  # between the HTTP ports of two processes of one flow

EXIT_FAULT = 1  # the flow crashed; a restart may help
EXIT_MISTAKE = 2  # a person has to correct something first
EXIT_AGAIN = 3  # the flow drained, to be restarted at once
EXIT_BEHIND = 4  # of a command: a flow has not caught up yet; waiting helps
MISTAKES = (
    AccessDenied,
    ConfigError,
    EngineConflict,
    RecordTooLarge,
    SnapshotError,
    UnknownTopic,
    UnknownVersion,
)


class ProcessPlace(NamedTuple):
    """The number of a process of a flow, and the addresses (host:port) of all; none if it is the only one."""

    number: int = 0
    addresses: tuple[str, ...] = ()

    def name_of(self, flow: str) -> str:
        """Return the name of the process that runs a flow, or several: "predict+learn".

        >>> ProcessPlace().name_of("predict")
        'predict'
        >>> ProcessPlace(1, ("127.0.0.1:4001", "127.0.0.1:4002")).name_of("predict")
        'predict-1'
        """
        return f"{flow}-{self.number}" if self.addresses else flow


SINGLE = ProcessPlace()


def run(flows: Sequence[str], place: ProcessPlace, pipeline: str) -> int:
    """Run the flows until they have drained, and return the exit code of the process.

    Raises a `DriftlineError` if a person has to act.
    """
    engine = load_engine(pipeline)
    state_dir.make(engine.settings.state_dir)
    drain_on_signals(engine.drain)
    check_topics(engine)
    if len(flows) > 1:
        return _run_together(engine, flows)
    if flows[0] in BACKGROUND:
        os.nice(10)  # before the import, which may take seconds
    idle = engine.idle if place.addresses else Idle(ALONE)
    return _run_one(replace(engine, idle=idle), flows[0], place)


def _run_together(engine: Engine, flows: Sequence[str]) -> int:
    """Run each flow in a thread; when one of them ends, drain the others.

    Raises what a flow raised. Ends the process if the others do not drain: a restart is then the best help.
    """
    with ThreadPoolExecutor(len(flows)) as threads:
        own = [replace(engine, telemetry=Telemetry(), idle=Idle(ALONE)) for _ in flows]
        runs = [threads.submit(_run_one, each, flow) for each, flow in zip(own, flows, strict=True)]
        while not wait(runs, _WAKING, FIRST_COMPLETED).done:
            pass  # another thread may take a signal, whose handler runs when this one wakes
        engine.drain.set()
        if wait(runs, timeout=GRACE).not_done:
            faulthandler.dump_traceback()
            os._exit(EXIT_FAULT)
    return max(run.result() for run in runs)


def _run_one(engine: Engine, flow: str, place: ProcessPlace = SINGLE) -> int:
    module = importlib.import_module(f"flows.{flow}")
    metrics.process_started(engine.pipeline.name, flow, engine.pipeline.stream_kinds)
    tune_garbage_collection()
    with (
        _lock(engine, flow, place),
        sole_engine(engine, flow, place),
        health_server(engine.settings.http_host, _port(engine, flow, place), engine.io.waits_for),
    ):
        execute(engine, flow, module.build(engine), place)
    return EXIT_AGAIN if engine.telemetry.has_grown else 0


def prepare(engine: Engine, flows: Iterable[str]) -> None:
    """Import what the flows need, so that the processes forked from this one share it.

    The materialize flow imports Feast, which takes seconds, so that flow imports it by itself.
    """
    broker_url.prepare(engine.settings.broker)
    for flow in flows:
        if flow != "materialize":
            importlib.import_module(f"flows.{flow}")
    gc.freeze()  # a collection would write to, and so copy, each page that it scans


def tune_garbage_collection() -> None:
    """Collect less often, and exclude the objects that exist after start-up.

    A flow creates no cycles but keeps many objects; scanning all of them took a third of its time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def execute(engine: Engine, flow: str, dataflow: object, place: ProcessPlace = SINGLE) -> None:
    """Run `dataflow` with recovery on; raises `StateError` when its state cannot be stored."""
    from bytewax.recovery import RecoveryConfig
    from bytewax.run import cli_main

    directory = engine.state.recovery_dir(flow)
    recovery.prepare(directory, engine.pipeline.partitions)
    check_slots(engine.pipeline, engine.state, flow)
    with recovery.explained_panics(directory):
        cli_main(
            dataflow,
            process_id=place.number,
            addresses=list(place.addresses) or None,
            epoch_interval=timedelta(seconds=engine.settings.epoch_seconds),
            recovery_config=RecoveryConfig(directory),
        )


def _lock(engine: Engine, flow: str, place: ProcessPlace) -> AbstractContextManager[None]:
    if place.addresses:
        return one_of(engine.state, flow, place.name_of(flow))
    return alone(engine.state, flow)


def sole_engine(engine: Engine, flow: str, place: ProcessPlace) -> AbstractContextManager[object]:
    """Return a context in which no other engine runs the flow on its Kafka, from any machine.

    The first process of a cluster joins the engine's group; the others wait until it has. Raises
    `EngineConflict`.
    """
    settings, pipeline = engine.settings, engine.pipeline
    kafka = (settings.broker, settings.kafka_options)
    group, identity = _engine_group(pipeline, flow), engine.state.identity()
    if place.number == 0:
        return broker_url.membership(*kafka, group, pipeline.topic("predictions"), identity, _end_at_once)
    broker_url.await_member(*kafka, group, identity)
    return nullcontext()


def check_sole(engine: Engine, flow: str) -> None:
    """Raise `EngineConflict` when another engine runs the flow on its Kafka, from any machine."""
    settings, group = engine.settings, _engine_group(engine.pipeline, flow)
    broker_url.check_sole(settings.broker, settings.kafka_options, group, engine.state.identity())


def is_running(engine: Engine, flow: str) -> bool:
    """Return whether a process with this state directory runs the flow, or on Kafka an engine anywhere."""
    settings, group = engine.settings, _engine_group(engine.pipeline, flow)
    return runs_here(engine.state, flow) or broker_url.has_members(
        settings.broker, settings.kafka_options, group
    )


def _engine_group(pipeline: Pipeline, flow: str) -> str:
    """Return the consumer group whose only member is the engine that runs the flow."""
    return f"{pipeline.group(flow)}.engine"


def _end_at_once(reason: str) -> None:
    """Exit without draining: another engine now owns the flow, and this one must write nothing more."""
    logging.getLogger("driftline").error("%s", reason)
    os._exit(EXIT_MISTAKE)


def check_topics(engine: Engine, topics: Sequence[str] = ()) -> None:
    """Raise `UnknownTopic` unless `driftline apply` has created the topics, by default all.

    Raises `AccessDenied` for a topic that Kafka hides.
    """
    with closing(engine.open_broker()) as broker:
        broker.existing(topics or engine.pipeline.topics)


def main(flows: Sequence[str], place: ProcessPlace, pipeline: str = "") -> int:
    """Run flows, by default of the pipeline that the settings name, and return the process's exit code.

    A mistake of the user is logged as one line, a crash with its stack trace.
    """
    faulthandler.register(DUMP_STACKS)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter(f"%(asctime)s {'+'.join(flows)}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        return run(flows, place, pipeline)
    except Exception as error:
        cause = _driftline_error(error)
        if cause is None:
            sys.stderr.write(printable_lines(traceback.format_exc()))
            return EXIT_FAULT
        logging.getLogger("driftline").error("%s", cause)
        return EXIT_MISTAKE if isinstance(cause, MISTAKES) else EXIT_FAULT
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":  # of Rust; no module exports it
            raise
        logging.getLogger("driftline").error(
            "worker processes lost contact (%s); if this recurs, run with --processes 1 to see the cause",
            panic,
        )
        return EXIT_FAULT


def _port(engine: Engine, flow: str, place: ProcessPlace) -> int:
    """Return the HTTP port of a process; 0 (any free port) if the setting is 0."""
    base = engine.settings.http_port
    return port_of(base, flow, place.number) if base else 0


def port_of(base: int, flow: str, number: int) -> int:
    """Return the HTTP port of a flow's process; `base` is that of the first flow.

    >>> port_of(9464, "predict", 0), port_of(9464, "learn", 0), port_of(9464, "predict", 1)
    (9464, 9465, 9474)
    """
    return base + FLOWS.index(flow) + _PORTS * number


def _driftline_error(error: BaseException | None) -> DriftlineError | None:
    """Return the `DriftlineError` that Bytewax wrapped in its own error, if any."""
    while error is not None:
        if isinstance(error, DriftlineError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.runtime.runner", description="Run one flow.")
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument("--process", type=int, default=0, help="the number of this process of the flow")
    parser.add_argument("--addresses", nargs="+", default=(), help="host:port of each process, in order")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(main([arguments.flow], ProcessPlace(arguments.process, tuple(arguments.addresses))))
