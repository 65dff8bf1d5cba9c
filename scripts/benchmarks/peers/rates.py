"""Measures the predict and learn flows and the peers, which do the same work on the same Kafka."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import orjson

from flows.runtime.engine import Engine, load_engine
from scripts.benchmarks.peers.environments import BARE, HERE, PEERS, Peer
from scripts.benchmarks.peers.load import EVENTS, LABELS, events, fill, make_topic
from scripts.benchmarks.peers.measure import Rate, Watermarks, rate, running
from scripts.benchmarks.peers.results import Figure

RUNNER = (sys.executable, "-m", "flows.runtime.runner")


def rates(broker: str, folder: Path, count: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds over `count` events each; the programs take turns."""
    fill(broker, count)
    bench = _Bench(broker, folder, count)
    ours: dict[str, list[Rate]] = {"predict": [], "learn": []}
    theirs: dict[tuple[str, str], list[Rate]] = {}
    for _ in range(runs):
        for work, measured in bench.ours().items():
            ours[work].append(measured)
        for work in ours:
            theirs.setdefault((work, BARE.name), []).append(bench.bare(work))
            for peer in PEERS:
                theirs.setdefault((work, peer.name), []).append(bench.peer(peer, work))
    for (work, name), measured in theirs.items():
        cpu = [each.cpu for each in ours[work]], [each.cpu for each in measured]
        yield Figure(work, name, "events/s of CPU time", *cpu)
        if name != BARE.name:
            wall = [each.wall for each in ours[work]], [each.wall for each in measured]
            yield Figure(work, name, "events/s", *wall)


class _Bench:
    """One comparison on one Kafka, in one folder, with a fixed number of events."""

    def __init__(self, broker: str, folder: Path, count: int) -> None:
        self._broker = broker
        self._folder = folder
        self._count = count
        self._watermarks = Watermarks(broker)
        self._project = project(broker, folder / "project")
        self._file = folder / "events.jsonl"
        self._file.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events(count)))
        self._number = 0

    def ours(self) -> dict[str, Rate]:
        """Measure the predict flow, then the learn flow on its predictions and the labels."""
        forget(self._project)
        pipeline = self._project.pipeline
        predictions, group = pipeline.topic("predictions"), pipeline.group("learn")
        return {
            "predict": self._rate((*RUNNER, "predict"), lambda: self._watermarks.end(predictions)),
            "learn": self._rate((*RUNNER, "learn"), lambda: self._watermarks.committed(group, LABELS)),
        }

    def _rate(self, command: Sequence[str], position: Callable[[], int]) -> Rate:
        environment = {
            **os.environ,
            "DRIFTLINE_BROKER": f"kafka://{self._broker}",
            "DRIFTLINE_HTTP_PORT": "0",
        }
        log = self._folder / f"{command[-1]}.log"
        with running(command, self._folder / "project", environment, log) as program:
            return rate(program, position, self._count)

    def bare(self, work: str) -> Rate:
        """Return the rate that the bare loop prints."""
        environment = {**os.environ, "EVENTS": str(self._file), "LEARN": str(int(work == "learn"))}
        found = subprocess.run(
            BARE.command(), cwd=HERE, env=environment, capture_output=True, text=True, check=True
        )
        return Rate(float(found.stdout), float(found.stdout), 0)

    def peer(self, peer: Peer, work: str) -> Rate:
        """Measure the peer's program with its own output topic and consumer group."""
        self._number += 1
        answers = f"bench_answers_{self._number}"
        make_topic(self._broker, answers)
        environment = {
            **os.environ,
            "BROKER": self._broker,
            "EVENTS": EVENTS,
            "ANSWERS": answers,
            "FOLDER": str(self._folder / answers),
            "LEARN": str(int(work == "learn")),
        }
        log = self._folder / f"{peer.name}-{work}.log"
        with running(peer.command(), HERE, environment, log) as program:
            return rate(program, lambda: self._watermarks.end(answers), self._count)


def project(broker: str, folder: Path) -> Engine:
    """Create and apply the project of the comparison in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "project", folder)
    os.environ["DRIFTLINE_BROKER"] = f"kafka://{broker}"
    found = load_engine(directory=folder)
    subprocess.run([sys.executable, "-m", "flows.cli.app", "apply"], cwd=folder, check=True)
    return found


def forget(running: Engine) -> None:
    """Delete the state of the flows and recreate the pipeline's own topics."""
    shutil.rmtree(running.settings.state_dir / "state", ignore_errors=True)
    own = [topic for topic in running.pipeline.topics if topic not in (EVENTS, LABELS)]
    with closing(running.open_broker()) as broker:
        broker.delete_topics(own)
        broker.create_topics([spec for spec in running.pipeline.topic_specs() if spec.name in own])
