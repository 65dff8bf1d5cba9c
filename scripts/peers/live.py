"""Latency at a steady rate, alone and beside other work; the flows at rest and at their start."""

import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import NamedTuple

import orjson
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from peers.environments import HERE, QUIX
from peers.load import EVENTS, events, fill, make_topic
from peers.measure import Watermarks, cpu_seconds, resident, running, wait_for
from peers.rates import RUNNER, forget, project
from peers.results import Figure

from flows.runner import FLOWS

QUANTILES = (0.5, 0.9, 0.99, 1.0)
SETTLED = 5.0  # seconds after the last start of a flow
AT_REST = 20.0  # seconds that idle flows are watched
BUSY = "while True: pass"


class Latency(NamedTuple):
    """Milliseconds from sending until the answer is read, by quantile, and CPU seconds for 1,000 events."""

    quantiles: Sequence[float]
    cpu: float


def latencies(broker: str, folder: Path, rate: int, seconds: int, runs: int) -> Iterator[Figure]:
    """Driftline and Quix Streams in turns, `seconds` at `rate` events/s, alone and beside two busy loops."""
    found = project(broker, folder / "project")
    for load in (0, 2):
        ours, theirs = [], []
        for number in range(runs):
            fill(broker, 1)
            forget(found)
            answers = f"bench_answers_{load}_{number}"
            make_topic(broker, answers)
            environment = {**os.environ, "DRIFTLINE_HTTP_PORT": "0"}
            with running(
                (*RUNNER, "predict"), folder / "project", environment, folder / "predict.log"
            ) as flow:
                ours.append(_latency(flow, broker, found.pipeline.topic("predictions"), rate, seconds, load))
            fill(broker, 1)
            environment = {**os.environ, "BROKER": broker, "EVENTS": EVENTS, "ANSWERS": answers, "LEARN": "0"}
            with running(QUIX.command(), HERE, environment, folder / "quix.log") as peer:
                theirs.append(_latency(peer, broker, answers, rate, seconds, load))
        work = f"{rate:,} events/s" + (" beside two busy loops" if load else "")
        for place, quantile in enumerate(QUANTILES):
            values = [[each.quantiles[place] for each in side] for side in (ours, theirs)]
            yield Figure(work, QUIX.name, f"ms, {quantile:.0%}", *values, higher_is_better=False)
        costs = [[each.cpu for each in side] for side in (ours, theirs)]
        yield Figure(work, QUIX.name, "CPU s for 1,000 events", *costs, higher_is_better=False)


def at_rest(broker: str, folder: Path) -> dict[str, dict[str, float]]:
    """CPU (share of a core) and memory (MB) of each flow with nothing to read."""
    fill(broker, 1)
    found = project(broker, folder / "project")
    forget(found)
    figures: dict[str, dict[str, float]] = {}
    environment = {**os.environ, "DRIFTLINE_BROKER": f"kafka://{broker}", "DRIFTLINE_HTTP_PORT": "0"}
    for flow in FLOWS:
        with running((*RUNNER, flow), folder / "project", environment, folder / f"{flow}.log") as program:
            time.sleep(SETTLED)
            spent = cpu_seconds(program)
            time.sleep(AT_REST)
            used = (cpu_seconds(program) - spent) / AT_REST
            figures[flow] = {"cpu": used, "memory": resident(program)}
    return figures


def start(broker: str, folder: Path, runs: int) -> list[float]:
    """Seconds from the start of the predict flow's process to the first prediction on the topic."""
    fill(broker, 1000)
    found, watermarks, took = project(broker, folder / "project"), Watermarks(broker), []
    environment = {**os.environ, "DRIFTLINE_BROKER": f"kafka://{broker}", "DRIFTLINE_HTTP_PORT": "0"}
    for _ in range(runs):
        forget(found)
        began = time.monotonic()
        command = (*RUNNER, "predict")
        with running(command, folder / "project", environment, folder / "predict.log") as program:
            wait_for(program, lambda: watermarks.end(found.pipeline.topic("predictions")) > 0)
            took.append(time.monotonic() - began)
    return took


def _latency(program: psutil.Process, broker: str, topic: str, rate: int, seconds: int, load: int) -> Latency:
    watermarks = Watermarks(broker)
    wait_for(program, lambda: watermarks.end(topic) > 0)  # it has answered the one event that was there
    with _reading(broker, topic) as arrived, _busy(load):
        spent = cpu_seconds(program)
        sent = _send(broker, list(events(rate * seconds)), rate)
        wait_for(program, lambda: len(arrived) >= len(sent))
        cost = (cpu_seconds(program) - spent) / len(sent) * 1000
    warm = list(sent)[len(sent) // 3 :]
    values = sorted((arrived[name] - sent[name]) * 1000 for name in warm)
    return Latency([values[int(quantile * (len(values) - 1))] for quantile in QUANTILES], cost)


def _send(broker: str, records: Sequence[dict[str, object]], rate: int) -> dict[str, float]:
    """Send the records at the rate, each with an id of its own; when each went out."""
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 0})
    sent, run = {}, random.randrange(10**9)  # noqa: S311
    began = time.perf_counter() + 0.5
    for number, record in enumerate(records):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        name, now = f"{run}-{number}", round(time.time() * 1000)
        value = orjson.dumps({**record, "id": name, "ts": now})
        sent[name] = time.perf_counter()
        producer.produce(EVENTS, value, name, 0, timestamp=now)
        producer.poll(0)
    producer.flush()
    return sent


@contextmanager
def _reading(broker: str, topic: str) -> Iterator[dict[str, float]]:
    """When the answer of each id was read, while the block runs."""
    arrived: dict[str, float] = {}
    over = threading.Event()
    settings = {"bootstrap.servers": broker, "group.id": "bench", "fetch.wait.max.ms": 1}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])

    def read() -> None:
        while not over.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                now = time.perf_counter()
                arrived.setdefault(orjson.loads(message.value() or b"")["id"], now)
        consumer.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield arrived
    finally:
        over.set()
        reader.join()


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Other work on the machine: this many loops that never wait."""
    loops = [Popen([sys.executable, "-c", BUSY], stdout=DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
