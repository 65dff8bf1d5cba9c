"""Runs the peers' programs and the bare loop on the events of a topic or a file."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import psutil

from flows.core.stream.broker import Broker, TopicSpec
from scripts.benchmarks.harness.processes import Rate, rate, running
from scripts.benchmarks.harness.site import PROGRESS_SECONDS
from scripts.benchmarks.peers.environments import HERE, Peer

BARE = "bare loop"


def bare_rate(file: Path, environment: Mapping[str, str]) -> Rate:
    """Return the rates that the bare loop prints."""
    chosen = {**os.environ, "EVENTS": str(file), **environment}
    command = [sys.executable, "bare.py"]
    found = subprocess.run(command, cwd=HERE, env=chosen, capture_output=True, text=True, check=True)
    cpu, wall = map(float, found.stdout.split())
    return Rate(cpu, wall)


class Programs:
    """The peers on one Kafka; each run has an output topic and a consumer group of its own."""

    def __init__(self, broker: Broker, address: str, events: str, folder: Path) -> None:
        self._broker = broker
        self._address = address
        self._events = events
        self._folder = folder
        self._numbers = count()

    def answers(self) -> str:
        """Return a new empty topic for the answers."""
        topic = f"bench_answers_{next(self._numbers)}"
        self._broker.delete_topics([topic])
        self._broker.create_topics([TopicSpec(topic)])
        return topic

    def run(
        self, peer: Peer, answers: str, environment: Mapping[str, str]
    ) -> AbstractContextManager[psutil.Popen]:
        """Run the program for the block."""
        folder = self._folder / answers
        shutil.rmtree(folder, ignore_errors=True)
        chosen = {
            "BROKER": self._address,
            "EVENTS": self._events,
            "ANSWERS": answers,
            "FOLDER": str(folder),
            "PROGRESS_SECONDS": str(PROGRESS_SECONDS),
            **environment,
        }
        chosen["BYTEWAX_RECOVERY_DIRECTORY"] = str(folder / "recovery")
        chosen["BYTEWAX_SNAPSHOT_INTERVAL"] = chosen["PROGRESS_SECONDS"]
        chosen["BYTEWAX_RECOVERY_BACKUP_INTERVAL"] = "0"
        return running(peer.command(), HERE, chosen, self._folder / f"{peer.name}.log")

    def rate(self, peer: Peer, number: int, environment: Mapping[str, str]) -> Rate:
        """Return the rate of the program over the first `number` events."""
        answers = self.answers()
        with self.run(peer, answers, environment) as program:
            return rate(program, lambda: self._end(answers), number)

    def _end(self, topic: str) -> int:
        return sum(end for _, end in self._broker.offsets(topic))
