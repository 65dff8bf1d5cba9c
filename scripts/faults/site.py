"""A project directory with its settings, and what scripts/chaos asks of its broker."""

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
from flows.runtime import project as projects
from flows.runtime.engine import Engine

SCRIPTS = Path(__file__).resolve().parents[1]
CONFIGURATION = 'feature_repo = "feature_repo"\npipelines = ["chaos_pipeline"]\n'


@dataclass(frozen=True)
class Site:
    """A project directory, and the `DRIFTLINE_` settings that its commands get."""

    directory: Path
    environment: Mapping[str, str]

    def with_settings(self, **changes: object) -> "Site":
        """The site with other settings, named without their DRIFTLINE_."""
        changed = {f"DRIFTLINE_{name}": str(value) for name, value in changes.items()}
        return Site(self.directory, {**self.environment, **changed})

    def engine(self) -> Engine:
        """The engine of its one pipeline."""
        project = projects.load(self.directory)
        return Engine(project, settings.load(self.directory, self.environment), project.pipeline())

    def command(self, *arguments: str, output: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
        """A `driftline` command in the background."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLINE_")}
        environment = {**inherited, "RUST_BACKTRACE": "0", "COLUMNS": "500", **self.environment}
        command = [sys.executable, "-m", "flows.cli.app", *arguments]
        return subprocess.Popen(command, cwd=self.directory, env=environment, stdout=output, stderr=output)

    @contextmanager
    def log(self) -> "Iterator[Log]":
        """Its topics."""
        running = self.engine()
        with closing(running.open_broker()) as broker:
            yield Log(running, broker)


def fresh_site(directory: Path, environment: Mapping[str, str]) -> Site:
    """A project made anew, applied, with empty topics; what lay in the directory is deleted."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(SCRIPTS.parent / "feature_repo", directory / "feature_repo")
    shutil.copy(SCRIPTS / "faults" / "chaos_pipeline.py", directory)
    (directory / "driftline.toml").write_text(CONFIGURATION)
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
        """All records of a topic, partition by partition."""
        for number, (start, end) in enumerate(self.broker.offsets(topic)):
            for batch in read_range(self.broker, TopicPartition(topic, number), start, end):
                yield from batch

    def written(self, kind: str) -> int:
        """How many records the engine has written to its topic of this kind."""
        return sum(end for _, end in self.broker.offsets(self.running.pipeline.topic(kind)))

    def lag(self, flow: str) -> int:
        """How many records the flow has still to read."""
        group, topics = self.running.pipeline.group(flow), self.inputs(flow)
        read = {topic: self.broker.committed(group, topic) for topic in topics}  # first, lest it be negative
        return sum(
            end - read[topic].get(number, 0)
            for topic in topics
            for number, (_, end) in enumerate(self.broker.offsets(topic))
        )

    def has_begun(self, flow: str) -> bool:
        """Whether the flow has shown how far it is, since its progress was forgotten."""
        group = self.running.pipeline.group(flow)
        return any(any(self.broker.committed(group, topic).values()) for topic in self.inputs(flow))

    def forget_progress(self, flow: str) -> None:
        """Let a flow that was killed show no progress until it has resumed, for it may go back."""
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
        """The topics that the flow has to have read when it is done."""
        pipeline = self.running.pipeline
        return {
            "predict": [stream.topic for stream in pipeline.feature_streams],
            "learn": [pipeline.labels.topic, pipeline.topic("predictions")],
            "materialize": [pipeline.topic("features"), pipeline.topic("predictions")],
            "alert": [pipeline.topic("drift")],
            "retrain": [pipeline.topic("drift")],
        }[flow]
