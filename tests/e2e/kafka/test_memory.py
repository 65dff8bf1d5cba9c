"""The memory of a flow while a slow Kafka has a backlog of 270 MB of large records."""

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import orjson
import pytest
from harness import PATIENCE, KafkaNode, Project, wait_until
from made_flights import traffic

from flows.core.stream.broker import Outgoing

EVENTS = 600
PADDING = 150_000  # bytes in each record, which no compression makes less
MB = 2**20
PARTITIONS = 4  # flights, departures, arrivals, models
BOUND = (104 + 9 * PARTITIONS) * MB  # as docs/performance.md derives it


def padded(records: list[Outgoing]) -> list[Outgoing]:
    random = Random(5)
    noise = random.randbytes(PADDING).hex()

    def note() -> str:
        start = random.randrange(PADDING)
        return noise[start : start + PADDING]

    return [r._replace(value=orjson.dumps({**orjson.loads(r.value), "note": note()})) for r in records]


def memory(pid: int, name: str) -> int:
    """A figure (bytes) of /proc/PID/status: VmRSS is what the process has now, VmHWM the most it ever had."""
    (kilobytes,) = re.findall(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(kilobytes)


@contextmanager
def hardly_answering(pid: int, stands: float, runs: float) -> Iterator[None]:
    """Freeze the process and let it run alternately, for these times (s), so that its responses are late."""
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            os.kill(pid, signal.SIGSTOP)
            end.wait(stands)
            os.kill(pid, signal.SIGCONT)
            end.wait(runs)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.long
def test_a_kafka_that_hardly_answers_and_then_stands_still_costs_bounded_memory_and_loses_and_repeats_nothing(
    project: Project, kafka_node: Callable[[], KafkaNode]
) -> None:
    node = kafka_node()
    kafka = node.pid
    project = project.on_kafka(node.address).with_settings(HTTP_PORT=0, EPOCH_SECONDS=1)
    events = [record for record in traffic(EVENTS) if record.topic != "flight_labels"]
    with project.flows("predict") as running, project.broker() as broker:

        def answered() -> int:
            return broker.offsets("flight_delays.predictions")[0][1]

        project.send(events[:3])
        wait_until(lambda: answered() > 0, PATIENCE)
        pid = running.pids()["predict"]
        at_rest = memory(pid, "VmRSS")
        os.kill(pid, signal.SIGSTOP)
        project.send(padded(events[3:]))
        os.kill(pid, signal.SIGCONT)
        with hardly_answering(kafka, stands=0.2, runs=0.1):
            wait_until(lambda: answered() > EVENTS // 4, PATIENCE)
        os.kill(kafka, signal.SIGSTOP)
        threading.Event().wait(2.0)
        os.kill(kafka, signal.SIGCONT)
        wait_until(lambda: answered() >= EVENTS, PATIENCE)
        most = memory(pid, "VmHWM")
        assert running.stop() == 0, running.said()
    assert Counter(p["id"] for p in project.values("predictions")) == Counter(
        r.key.decode() for r in events if r.topic == "flights"
    )
    assert project.records("dead-letters") == []
    assert most - at_rest < BOUND, (at_rest, most)
