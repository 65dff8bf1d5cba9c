"""Runs one of the five flows in this process: `python -m flows.runner predict`."""

import fcntl
import gc
import importlib
import logging
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from flows.adapters import telemetry
from flows.errors import ConfigError, DriftlineError, SnapshotError, UnknownTopic
from flows.wiring import Engine, drain_on_signals, engine

FLOWS = ("predict", "learn", "materialize", "alert", "retrain")
BACKGROUND = ("materialize", "retrain")  # long work that must not take the processor from an answer

SUPERVISED = "--supervised"

EXIT_FAULT = 1  # the flow crashed: starting it again may help
EXIT_MISTAKE = 2  # a person has to correct something first


def run(flow: str) -> None:
    """Run `flow` until it is told to stop; raises `DriftlineError` for what a person must correct."""
    running = engine()
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
        alone(running, flow),
        telemetry.HealthServer(settings.http_host, _port(running, flow), running.waits_for),
    ):
        execute(running, flow, module.build(running))


def tune_garbage_collection() -> None:
    """Collect less often, and never look again at what start-up left.

    A flow makes no cycles but keeps many objects; looking at all of them took a third of its time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def execute(running: Engine, flow: str, dataflow: object) -> None:
    """Run `dataflow` with recovery on."""
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.run import cli_main

    directory = running.recovery_dir(flow)
    if not directory.is_dir():
        unfinished = directory.with_name(f"{flow}.new")  # renamed when whole, should we be killed meanwhile
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        init_db_dir(unfinished, running.pipeline.partitions)
        unfinished.rename(directory)
    epoch = timedelta(seconds=running.settings.epoch_seconds)
    cli_main(dataflow, epoch_interval=epoch, recovery_config=RecoveryConfig(directory))


@contextmanager
def alone(running: Engine, flow: str) -> Iterator[None]:
    """Hold the flow's lock: two processes on one state would answer everything twice.

    Raises `DriftlineError` when another process on this machine holds it; the lock ends with its process.
    """
    file = running.recovery_dir(flow).with_name(f"{flow}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DriftlineError(
                f"another process runs {flow} of {running.pipeline.name} already, with the state in "
                f"{running.settings.state_dir}; stop that one first"
            ) from None
        yield


def drain_with_parent() -> None:
    """Drain when the supervisor is gone: the pipe that it holds to our standard input ends with it."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)  # not sys.stdin: its lock would outlive the interpreter
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def check_topics(running: Engine) -> None:
    """Raise `UnknownTopic` unless `driftline apply` has made the pipeline's topics."""
    broker = running.open_broker()
    known = broker.topics()
    broker.close()
    for topic in running.topics():
        if topic not in known:
            raise UnknownTopic(topic)


def main(flow: str) -> int:
    """Run `flow`; the process's exit code. A person's mistake is one line, a crash has its stack trace."""
    logging.basicConfig(format=f"%(asctime)s {flow}: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        run(flow)
    except Exception as error:
        cause = _deliberate(error)
        if cause is None:
            traceback.print_exc()
            return EXIT_FAULT
        logging.getLogger("driftline").error("%s", cause)
        return EXIT_MISTAKE if isinstance(cause, ConfigError | SnapshotError | UnknownTopic) else EXIT_FAULT
    return 0


def _port(running: Engine, flow: str) -> int:
    base = running.settings.http_port
    return base and base + FLOWS.index(flow)


def _deliberate(error: BaseException | None) -> DriftlineError | None:
    """The error of ours that Bytewax wrapped in its own."""
    while error is not None:
        if isinstance(error, DriftlineError):
            return error
        error = error.__cause__ or error.__context__
    return None


if __name__ == "__main__":
    if SUPERVISED in sys.argv[2:]:
        drain_with_parent()
    sys.exit(main(sys.argv[1]))
