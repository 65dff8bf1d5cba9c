"""A project directory with its settings, and its topics."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows import settings
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.runtime.engine import Engine
from flows.runtime.project import load_project

SCRIPTS = Path(__file__).resolve().parents[1]
CONFIGURATION = 'feature_repo = "feature_repo"\npipelines = ["{module}"]\n'
MODULES = ("chaos_pipeline", "models_pipeline")


@dataclass(frozen=True)
class Site:
    """A project directory, and the `DRIFTLINE_` variables of its commands."""

    directory: Path
    environment: Mapping[str, str]

    def with_settings(self, **changes: object) -> "Site":
        """Return the site with other settings, named without DRIFTLINE_."""
        changed = {f"DRIFTLINE_{name}": str(value) for name, value in changes.items()}
        return Site(self.directory, {**self.environment, **changed})

    def engine(self) -> Engine:
        """Return the engine of its only pipeline."""
        project = load_project(self.directory)
        return Engine(project, settings.load_settings(self.directory, self.environment), project.pipeline())

    def command(self, *arguments: str, output: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
        """Start a `driftline` command in the background."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLINE_")}
        environment = {**inherited, "RUST_BACKTRACE": "0", "COLUMNS": "500", **self.environment}
        command = [sys.executable, "-m", "flows.cli.app", *arguments]
        return subprocess.Popen(command, cwd=self.directory, env=environment, stdout=output, stderr=output)

    @contextmanager
    def log(self) -> "Iterator[Log]":
        """Open its broker for the block and yield its topics."""
        running = self.engine()
        with closing(running.open_broker()) as broker:
            yield Log(running, broker)


def fresh_site(directory: Path, environment: Mapping[str, str], module: str = MODULES[0]) -> Site:
    """Create and apply the project of a pipeline's module; delete its topics and the directory before."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(SCRIPTS.parent / "feature_repo", directory / "feature_repo")
    for name in MODULES:
        shutil.copy(SCRIPTS / "faults" / f"{name}.py", directory)
    (directory / "driftline.toml").write_text(CONFIGURATION.format(module=module))
    site = Site(directory, environment)
    running = site.engine()
    with closing(running.open_broker()) as broker:
        broker.delete_topics(running.pipeline.topics)
    with (directory / "apply.log").open("wb") as output:
        code = site.command("apply", output=output).wait()
    if code:
        raise SystemExit((directory / "apply.log").read_text())
    return site


@dataclass(frozen=True)
class Log:
    """The topics of a pipeline."""

    running: Engine
    broker: Broker

    def records(self, topic: str) -> Iterator[Record]:
        """Yield all records of a topic, partition by partition."""
        for number, (start, end) in enumerate(self.broker.offsets(topic)):
            for batch in read_range(self.broker, TopicPartition(topic, number), start, end):
                yield from batch

    def written(self, kind: str) -> int:
        """Return the number of records on the pipeline's topic of this kind."""
        return sum(end for _, end in self.broker.offsets(self.running.pipeline.topic(kind)))

    def lag(self, flow: str) -> int:
        """Return how many records the flow has not read yet."""
        group, topics = self.running.pipeline.group(flow), self.inputs(flow)
        read = {
            topic: self.broker.committed(group, topic) for topic in topics
        }  # before the ends, so that the lag is never negative
        return sum(
            end - read[topic].get(number, 0)
            for topic in topics
            for number, (_, end) in enumerate(self.broker.offsets(topic))
        )

    def has_begun(self, flow: str) -> bool:
        """Return whether the flow has committed an offset since `forget_progress`."""
        group = self.running.pipeline.group(flow)
        return any(any(self.broker.committed(group, topic).values()) for topic in self.inputs(flow))

    def forget_progress(self, flow: str) -> None:
        """Reset the committed offsets of a killed flow: it may resume before them."""
        begin = {
            TopicPartition(topic, number): 0
            for topic in self.inputs(flow)
            for number in range(self.running.pipeline.partitions)
        }
        with closing(self.broker.consumer(self.running.pipeline.group(flow), begin)) as consumer:
            consumer.commit(begin)
            deadline = time.monotonic() + 2
            while self.has_begun(flow) and time.monotonic() < deadline:
                time.sleep(0.02)

    def inputs(self, flow: str) -> list[str]:
        """Return the input topics of the flow."""
        pipeline = self.running.pipeline
        return {
            "predict": [stream.topic for stream in pipeline.feature_streams],
            "learn": [pipeline.labels.topic, pipeline.topic("predictions"), pipeline.topic("commands")],
            "materialize": [pipeline.topic("features"), pipeline.topic("predictions")],
            "alert": [pipeline.topic("drift")],
            "retrain": [pipeline.topic("drift"), pipeline.topic("registry")],
        }[flow]
