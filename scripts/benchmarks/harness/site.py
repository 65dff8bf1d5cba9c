"""A project of a benchmark on one broker: its topics, its state, and its flows as processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from functools import cached_property
from itertools import islice
from pathlib import Path

import psutil

from flows.core.stream.broker import Broker, Outgoing, TopicPartition
from flows.runtime.engine import Engine, load_engine
from scripts.benchmarks.harness.processes import WARM, Rate, rate, running
from scripts.tools.fresh import REPOSITORY

BENCH = REPOSITORY / ".driftline" / "bench"
PROGRESS_SECONDS = 2  # between two stored states of a flow, as between two commits of a peer
COMMAND = (sys.executable, "-m", "flows.cli.app")
_BATCH = 1000
_WRITES = {
    "predict": ("predictions", "features", "dead-letters"),
    "learn": ("models", "metrics", "drift", "learned", "registry"),
}


class Site:
    """The project in `folder`, applied on a broker without the topics of an earlier run.

    An empty `broker` is the embedded log in the folder. `environment` is that of the flows.
    """

    def __init__(self, folder: Path, broker: str = "", environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = {
            "DRIFTLINE_BROKER": broker,
            "DRIFTLINE_HTTP_PORT": "0",
            "DRIFTLINE_EPOCH_SECONDS": str(PROGRESS_SECONDS),
            **(environment or {}),
        }
        os.environ |= self.environment
        self.engine: Engine = load_engine(directory=folder)
        self._apply()

    def _apply(self) -> None:
        with closing(self.engine.open_broker()) as broker:
            broker.delete_topics(self.engine.pipeline.topics)
        subprocess.run([*COMMAND, "apply"], cwd=self.folder, stderr=subprocess.DEVNULL, check=True)

    @cached_property
    def broker(self) -> Broker:
        """A connection to the broker."""
        return self.engine.open_broker()

    def publish(self, records: Iterable[Outgoing]) -> None:
        """Write the records."""
        producer, remaining = self.broker.producer(), iter(records)
        while batch := list(islice(remaining, _BATCH)):
            producer.send(batch)
        producer.close()

    def forget(self, *flows: str) -> None:
        """Delete the state of the flows, the records that they have written, and their progress."""
        for flow in flows:
            shutil.rmtree(self.engine.state.recovery_dir(flow), ignore_errors=True)
            shutil.rmtree(self.engine.state.blocks_dir(flow), ignore_errors=True)
        if "learn" in flows:
            self._forget_labels()
        self.recreate([self.engine.pipeline.topic(kind) for flow in flows for kind in _WRITES.get(flow, ())])

    def _forget_labels(self) -> None:
        """Set the learn flow's progress to the first label; `learned` would return that of the run before."""
        pipeline = self.engine.pipeline
        topic = pipeline.labels.topic
        start = {TopicPartition(topic, number): 0 for number in range(len(self.broker.offsets(topic)))}
        consumer = self.broker.consumer(pipeline.group("learn"), start)
        consumer.commit(start)
        consumer.close()

    def recreate(self, topics: Sequence[str]) -> None:
        """Delete all records of topics of the pipeline."""
        self.broker.delete_topics(topics)
        specs = self.engine.pipeline.topic_specs()
        self.broker.create_topics([spec for spec in specs if spec.name in topics])

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[psutil.Popen]:
        """Run `driftline run` with the arguments for the block, without the dashboard."""
        chosen = {**self.environment, **(environment or {})}
        log = self.folder / f"{'-'.join(('run', *arguments))}.log"
        return running([*COMMAND, "run", "--no-serve", *arguments], self.folder, chosen, log)

    def end(self, topic: str) -> int:
        """Return the number of records of the topic."""
        return sum(end for _, end in self.broker.offsets(topic))

    def predicted(self) -> int:
        """Return the number of predictions on the topic."""
        return self.end(self.engine.pipeline.topic("predictions"))

    def learned(self) -> int:
        """Return the number of labels that the learn flow has committed."""
        pipeline = self.engine.pipeline
        return sum(self.broker.committed(pipeline.group("learn"), pipeline.labels.topic).values())

    def predict_rate(
        self, count: int, environment: Mapping[str, str] | None = None, warm: float = WARM
    ) -> Rate:
        """Return the rate of the predict flow, which has `count` events to predict."""
        with self.run("predict", environment=environment) as program:
            return rate(program, self.predicted, count, warm)

    def learn_rate(self, count: int, environment: Mapping[str, str] | None = None) -> Rate:
        """Return the rate of the learn flow, which has `count` labels to learn."""
        with self.run("learn", environment=environment) as program:
            return rate(program, self.learned, count)


def fresh_folder(project: Path, folder: Path, *modules: Path) -> Path:
    """Replace `folder` by a copy of the project with the modules, and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project, folder)
    for module in modules:
        shutil.copy(module, folder)
    return folder
