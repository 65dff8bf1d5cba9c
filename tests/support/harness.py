"""Runs projects as users do: their flows in this process or in others, their topics through the broker."""

import os
import pickle
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

import orjson
import pytest
from click.testing import Result
from metric_values import value_of
from places import ROOT
from typer.testing import CliRunner

from flows import settings
from flows.adapters.prometheus import metrics
from flows.alert import build as alert
from flows.cli.app import app
from flows.core.stream.broker import Broker, Outgoing, Record, TopicPartition, read_range
from flows.learn import build as learn
from flows.pipeline import Pipeline
from flows.predict import build as predict
from flows.retrain import build as retrain
from flows.runtime.engine import Engine
from flows.runtime.project import load_project
from flows.runtime.runner import execute
from flows.runtime.telemetry import Telemetry
from scripts.faults.site import Log
from scripts.faults.supervisor import is_flow

BUILD = {"predict": predict, "learn": learn, "alert": alert, "retrain": retrain}
PATIENCE = 60.0  # seconds; the machine may be busy
DRIFTLINE = Path(sys.executable).with_name("driftline")
KAFKA_SCRIPT = ROOT / "scripts" / "kafka"
NEEDS_INSTALLATION = 3  # the exit code of that script

NOT_TESTED = "NOT TESTED: "  # begins the reason of a skip that the summary shows


def unavailable(reason: str) -> None:
    """Skip the test because a system is missing on this machine; fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(NOT_TESTED + reason)


def server_port() -> int:
    """Return a free port outside the ephemeral range, so that a restarted server can bind it again."""
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; ask rarely what takes long, since asking takes the processor from the flows."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds:g} s"
        time.sleep(min(0.1, max(0.01, waited / 20)))


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@dataclass(frozen=True)
class KafkaNode:
    """A Kafka node for tests; it shares its jars with `scripts/kafka`."""

    folder: Path
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DRIFTLINE_KAFKA_NODE": str(self.folder),
            "DRIFTLINE_KAFKA_PORT": str(self.port),
            "DRIFTLINE_KAFKA_CONTROLLER_PORT": str(self.controller_port),
            **({"DRIFTLINE_KAFKA_PROPERTIES": str(self.properties)} if self.properties.exists() else {}),
        }

    @property
    def properties(self) -> Path:
        """The file of additional server properties, which a test may write before `start`."""
        return self.folder.with_suffix(".properties")

    def command(self, name: str) -> None:
        # to a file, since the node would keep a pipe open
        output = self.folder.with_suffix(".txt")
        with output.open("w") as stream:
            code = subprocess.call([KAFKA_SCRIPT, name], env=self.environment, stdout=stream, stderr=stream)
        if code == NEEDS_INSTALLATION:
            unavailable(output.read_text().strip())
        assert code == 0, output.read_text()

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def kill(self) -> None:
        """Send SIGKILL and wait until the ports are closed."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_open, (self.port, self.controller_port))))

    def stopped_after_us(self) -> subprocess.Popen[bytes]:
        """Start a process that stops the node when this process closes its pipe or dies."""
        return subprocess.Popen(
            ["sh", "-c", 'cat; exec "$0" stop', KAFKA_SCRIPT],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )


class DurableRedis:
    """A Redis that persists every acknowledged write."""

    def __init__(self, folder: Path) -> None:
        self.port = server_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "appendonly": "yes", "appendfsync": "always"}
        command = ["redis-server", *[part for k, v in options.items() for part in (f"--{k}", str(v))]]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)
        wait_until(lambda: answers_ping(self.port))

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal, if it runs, and wait."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None


@dataclass(frozen=True)
class Project:
    """A project directory, and the environment of its commands."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def copy_to(self, directory: Path) -> "Project":
        """Return a copy with the same plan; its Feast registry still refers to this project's folders."""
        shutil.copytree(self.directory, directory)
        return Project(directory, self.environment)

    def on_kafka(self, address: str) -> "Project":
        """Return this project on Kafka, with new topics.

        All projects have one engine id, so that none waits for the session timeout of a killed one.
        """
        (self.directory / ".driftline" / "engine").write_text("tests")
        moved = self.with_settings(BROKER=f"kafka://{address}")
        moved.make_topics()
        return moved

    def with_settings(self, **settings: object) -> "Project":
        """Return this project with other settings, named without DRIFTLINE_."""
        changed = {f"DRIFTLINE_{name}": str(value) for name, value in settings.items()}
        return Project(self.directory, {**self.environment, **changed})

    def apply_feast(self) -> None:
        """Apply the feature repository in this process: the registry then refers to this project's stores."""
        from flows.adapters.feast.repo import apply  # Feast takes seconds to import: only where it is needed

        running = self.engine()
        (self.directory / ".driftline" / "feast" / "registry.db").unlink()
        apply(running.project.feature_repo, running.settings.feature_store)

    def engine(self, **changes: object) -> Engine:
        """Return an engine in this process; `changes` replace fields of its pipeline."""
        loaded, chosen = (
            load_project(self.directory),
            settings.load_settings(self.directory, self.environment),
        )
        pipeline: Pipeline = replace(loaded.pipeline(chosen.pipeline), **changes)  # type: ignore[arg-type]
        return Engine(loaded, chosen, pipeline)

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        with closing(self.engine().open_broker()) as broker:
            yield broker

    def make_topics(self) -> None:
        """Recreate the pipeline's topics, empty."""
        running = self.engine()
        with self.broker() as broker:
            broker.delete_topics(running.pipeline.topics)
            broker.create_topics(running.pipeline.topic_specs())

    def records(self, kind: str) -> list[Record]:
        """Return all records of a topic, given by its name or its kind."""
        with self.broker() as broker:
            return records_of(broker, topic_of(self.engine(), kind))

    def values(self, kind: str) -> list[dict]:
        return [orjson.loads(record.value) for record in self.records(kind)]

    def send(self, records: Sequence[Outgoing]) -> None:
        with self.broker() as broker, closing(broker.producer()) as producer:
            producer.send(records)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run a `driftline` command and return its result."""
        return subprocess.run(
            [DRIFTLINE, *arguments],
            cwd=self.directory,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )

    def invoke(self, *arguments: str, **environment: str) -> Result:
        """Run a `driftline` command in this process, because a start takes seconds."""
        chosen = {"COLUMNS": "200", **self.environment, **environment}
        with chdir(self.directory):
            return CliRunner().invoke(app, arguments, env=chosen)

    def start(self, *command: str | Path, **environment: str) -> "Running":
        """Start a command in the background."""
        log = self.directory / f"run-{time.monotonic_ns()}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, cwd=self.directory, env=self._environment(environment), stdout=stream, stderr=stream
            )
        return Running(process, log)

    @contextmanager
    def flows(self, *names: str, **environment: str) -> Iterator["Running"]:
        """Run `driftline run` for the block, without the dashboard; kill it and its flows afterwards."""
        running = self.start(DRIFTLINE, "run", "--no-serve", *names, **environment)
        try:
            yield running
        finally:
            running.kill()

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLINE_")}
        return {**inherited, "RUST_BACKTRACE": "0", "COLUMNS": "500", **self.environment, **more}


@dataclass(frozen=True)
class Running:
    """A command that runs in the background."""

    process: subprocess.Popen
    log: Path

    def pids(self) -> dict[str, int]:
        """Return the process id of each flow, from the log of the supervisor."""
        return {flow: int(pid) for flow, pid in re.findall(r"(\S+) started \(pid (\d+)\)", self.said())}

    def said(self) -> str:
        return self.log.read_text()

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill it and all its flows."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.pids().values():
            if is_flow(pid):
                os.kill(pid, signal.SIGKILL)


def topic_of(running: Engine, kind: str) -> str:
    return kind if kind in running.pipeline.topics else running.pipeline.topic(kind)


def records_of(broker: Broker, topic: str) -> list[Record]:
    return [
        record
        for number, (start, end) in enumerate(broker.offsets(topic))
        for batch in read_range(broker, TopicPartition(topic, number), start, end)
        for record in batch
    ]


def lag(broker: Broker, running: Engine, flow: str) -> int:
    """Return how many records the flow has not read yet."""
    return Log(running, broker).lag(flow)


def forget_progress(running: Engine, flow: str) -> None:
    """Reset the committed offsets of the flow, so that the next ones are those of the next run."""
    with closing(running.open_broker()) as broker:
        group, topics = running.pipeline.group(flow), Log(running, broker).inputs(flow)
        begin = {TopicPartition(topic, n): 0 for topic in topics for n in range(len(broker.offsets(topic)))}
        with closing(broker.consumer(group, begin)) as consumer:
            consumer.commit(begin)
            wait_until(
                lambda: not any(n for topic in topics for n in broker.committed(group, topic).values())
            )


class CrashAfter(Telemetry):
    """Crashes the flow after its records were written and before its epoch ends."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._left = batches

    def written(self, records: object) -> None:
        self._left -= 1
        if not self._left:
            raise RuntimeError("the crash that the test wants")


def run_flow(
    running: Engine, flow: str, until: Callable[[Broker], bool] | None = None, build: Callable | None = None
) -> None:
    """Run a flow in this process until it has read everything, or until `until` is true; then drain it."""
    if until is None:
        forget_progress(running, flow)
    if flow == "retrain":
        declare(running)
    done = until or (lambda broker: lag(broker, running, flow) == 0 and not _is_training(flow))
    running.drain.clear()
    watcher = _Drainer(running, done)
    watcher.start()
    try:
        execute(running, flow, (build or BUILD[flow])(running))
    finally:
        running.drain.set()
        watcher.join()
    assert watcher.fault is None, watcher.fault


def declare(running: Engine) -> None:
    """Let the project declare the engine's pipeline, which a test may have changed: trainers load it."""
    pipeline = running.pipeline
    if pipeline == running.project.pipelines.get(pipeline.name):
        return
    directory, module = running.project.directory, f"declared_{time.monotonic_ns()}"
    # this process loads it too, and must not double its own path
    content = f"import pickle, sys\n\nsys.path += [each for each in {sys.path!r} if each not in sys.path]\n"
    content += f"pipeline = pickle.loads({pickle.dumps(pipeline)!r})\n"
    (directory / f"{module}.py").write_text(content)
    toml = f'feature_repo = "feature_repo"\npipelines = ["{module}"]\n'
    (directory / "driftline.toml").write_text(toml)


def _is_training(flow: str) -> bool:
    return flow == "retrain" and value_of(metrics.RETRAIN_WAITING) > 0


class _Drainer(Thread):
    """Drains the flow when it is done, or when it takes too long."""

    def __init__(self, running: Engine, done: Callable[[Broker], bool]) -> None:
        super().__init__(daemon=True)
        self._running = running
        self._done = done
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            with closing(self._running.open_broker()) as broker:
                wait_until(lambda: self._running.drain.is_set() or self._done(broker), PATIENCE)
        except BaseException as error:  # the test shows it
            self.fault = error
        finally:
            self._running.drain.set()


def free_ports(number: int) -> int:
    """Return the first of `count` consecutive free ports."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + number):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first
