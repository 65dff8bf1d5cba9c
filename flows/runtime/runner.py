"""Runs one of the five flows in this process: `python -m flows.runtime.runner predict`."""

import argparse
import faulthandler
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta
from typing import NamedTuple

from flows.adapters.bytewax import recovery
from flows.adapters.prometheus import metrics as telemetry
from flows.adapters.prometheus.health_server import health_server
from flows.errors import (
    AccessDenied,
    ConfigError,
    DriftlineError,
    EngineConflict,
    RecordTooLarge,
    SnapshotError,
    UnknownTopic,
)
from flows.host import state_dir
from flows.host.printable import PrintableFormatter, printable_lines
from flows.runtime import broker_url as brokers
from flows.runtime.broker_url import await_member, membership
from flows.runtime.engine import Engine, drain_on_signals, engine
from flows.runtime.locks import alone, one_of
from flows.runtime.topics import check_slots

FLOWS = ("predict", "learn", "materialize", "alert", "retrain")
TELL_WHERE = signal.SIGQUIT  # makes a flow write what each of its threads is doing to standard error
BACKGROUND = ("materialize", "retrain")  # long work that must not take the processor from an answer

SUPERVISED = "--supervised"
_PORTS = 10  # from a process's HTTP port to that of the flow's next process

EXIT_FAULT = 1  # the flow crashed: starting it again may help
EXIT_MISTAKE = 2  # a person has to correct something first
EXIT_BEHIND = 4  # a command found that a flow has not yet done what it needs; waiting helps
EXIT_AGAIN = 3  # the flow ended in order, to be started again at once
MISTAKES = (AccessDenied, ConfigError, EngineConflict, RecordTooLarge, SnapshotError, UnknownTopic)


class ProcessPlace(NamedTuple):
    """Which of a flow's processes this one is, and the addresses (host:port) of all; none if it is alone."""

    number: int = 0
    addresses: tuple[str, ...] = ()

    def name_of(self, flow: str) -> str:
        """What the process is called.

        >>> ProcessPlace().name_of("predict")
        'predict'
        >>> ProcessPlace(1, ("127.0.0.1:4001", "127.0.0.1:4002")).name_of("predict")
        'predict-1'
        """
        return f"{flow}-{self.number}" if self.addresses else flow

    def arguments(self) -> list[str]:
        """Those of the command that runs the process."""
        return ["--process", str(self.number), "--addresses", *self.addresses] if self.addresses else []


SINGLE = ProcessPlace()


def run(flow: str, place: ProcessPlace) -> int:
    """Run `flow` until it ends in order; its exit code. Raises `DriftlineError`, for a person to act on."""
    running = engine()
    state_dir.make(running.settings.state_dir)
    drain_on_signals(running)
    check_topics(running)
    # each flow imports what it needs only: the hot ones must not wait for Feast
    module = importlib.import_module(f"flows.{flow}")
    telemetry.PROCESS_INFO.labels(running.pipeline.name, flow).set(1)
    settings = running.settings
    tune_garbage_collection()
    if flow in BACKGROUND:
        os.nice(10)
    with (
        _lock(running, flow, place),
        sole_engine(running, flow, place),
        health_server(settings.http_host, _port(running, flow, place), running.waits_for),
    ):
        execute(running, flow, module.build(running), place)
    return EXIT_AGAIN if running.watch.has_grown else 0


def tune_garbage_collection() -> None:
    """Collect less often, and never look again at what start-up left.

    A flow makes no cycles but keeps many objects; looking at all of them took a third of its time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def execute(running: Engine, flow: str, dataflow: object, place: ProcessPlace = SINGLE) -> None:
    """Run `dataflow` with recovery on; raises `StateError` when its state cannot be stored."""
    from bytewax.recovery import RecoveryConfig
    from bytewax.run import cli_main

    directory = running.recovery_dir(flow)
    recovery.prepare(directory, running.pipeline.partitions)
    check_slots(running, flow)
    with recovery.running(directory):
        cli_main(
            dataflow,
            process_id=place.number,
            addresses=list(place.addresses) or None,
            epoch_interval=timedelta(seconds=running.settings.epoch_seconds),
            recovery_config=RecoveryConfig(directory),
        )


def _lock(running: Engine, flow: str, place: ProcessPlace) -> AbstractContextManager[None]:
    return one_of(running, flow, place.name_of(flow)) if place.addresses else alone(running, flow)


def sole_engine(running: Engine, flow: str, place: ProcessPlace) -> AbstractContextManager[object]:
    """Be the one engine that runs the flow on its Kafka, from whatever machine.

    The first process of a cluster holds the engine's place; the others look whether its state is theirs.
    Raises `EngineConflict`.
    """
    settings, pipeline = running.settings, running.pipeline
    kafka = (settings.broker, settings.kafka_options)
    group = f"{pipeline.group(flow)}.engine"
    if place.number == 0:
        return membership(*kafka, group, pipeline.topic("predictions"), running.identity(), _end_at_once)
    await_member(*kafka, group, running.identity())
    return nullcontext()


def check_sole(running: Engine, flow: str) -> None:
    """Raise `EngineConflict` when another engine runs the flow on its Kafka, from whatever machine."""
    settings, group = running.settings, f"{running.pipeline.group(flow)}.engine"
    brokers.check_sole(settings.broker, settings.kafka_options, group, running.identity())


def _end_at_once(reason: str) -> None:
    """End the process as a crash does: whatever it still wrote would be another engine's to write."""
    logging.getLogger("driftline").error("%s", reason)
    os._exit(EXIT_MISTAKE)


def drain_with_parent() -> None:
    """Drain when the supervisor is gone: the pipe that it holds to our standard input ends with it."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)  # not sys.stdin: its lock would outlive the interpreter
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def check_topics(running: Engine, topics: Sequence[str] = ()) -> None:
    """Raise `UnknownTopic` unless `driftline apply` has made the topics, by default all of the pipeline.

    Raises `AccessDenied` for one that Kafka hides.
    """
    with closing(running.open_broker()) as broker:
        broker.existing(topics or running.topics())


def main(flow: str, place: ProcessPlace) -> int:
    """Run `flow`; the process's exit code. A person's mistake is one line, a crash has its stack trace."""
    faulthandler.register(TELL_WHERE)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter(f"%(asctime)s {flow}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        return run(flow, place)
    except Exception as error:
        cause = _deliberate(error)
        if cause is None:
            sys.stderr.write(printable_lines(traceback.format_exc()))
            return EXIT_FAULT
        logging.getLogger("driftline").error("%s", cause)
        return EXIT_MISTAKE if isinstance(cause, MISTAKES) else EXIT_FAULT
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":  # Rust's, which no module exports
            raise
        logging.getLogger("driftline").error(
            "the processes of the flow have lost one another (%s); should it come again, run the flow as one "
            "process, which tells the cause",
            panic,
        )
        return EXIT_FAULT


def _port(running: Engine, flow: str, place: ProcessPlace) -> int:
    base = running.settings.http_port
    return base and base + FLOWS.index(flow) + _PORTS * place.number


def _deliberate(error: BaseException | None) -> DriftlineError | None:
    """The error of ours that Bytewax wrapped in its own."""
    while error is not None:
        if isinstance(error, DriftlineError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.runtime.runner", description="Run one flow.")
    parser.add_argument("flow", choices=FLOWS)
    parser.add_argument(SUPERVISED, action="store_true", help="drain when standard input ends")
    parser.add_argument("--process", type=int, default=0, help="which of the flow's processes this is")
    parser.add_argument("--addresses", nargs="+", default=(), help="host:port of each of them, in order")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    if asked.supervised:
        drain_with_parent()
    sys.exit(main(asked.flow, ProcessPlace(asked.process, tuple(asked.addresses))))
