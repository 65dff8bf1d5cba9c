"""Benchmarks. Each result is a ratio to a baseline that is measured in the same run.

smoke: throughput of the predict and learn flows on the embedded log and on Kafka. The baseline is a bare loop
that does the same work (decode, features, score, encode; decode, join, evaluate, learn) without a broker.

features: the feature engine against a loop written by hand; cost per event and per entity as the number of
entities grows; write rate of the online stores against Feast's push; time from an event to its readable row.

labels: memory and time per pending prediction, with a million of them, against plain objects.

drift: false alarms and detection delays of the drift detectors on synthetic streams.

generated: CPU time per event of the generated window functions against plain loops.

peers: predict and learn against a bare loop, Quix Streams, stock Bytewax and Faust on one real Kafka. The
results are stored as JSON; compare OLD NEW shows the differences between two such files.

outliers: the effect of one event of 1e6 or 1e150 on a model, for each setting of `Pipeline.outliers`.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.core.features.by_entity import BatchSplitter, EntityRouter
from flows.core.features.idle import IdleIndex
from flows.core.stream.broker import Broker, Outgoing, Record, TopicPartition, read_range
from flows.runtime.engine import Engine
from flows.runtime.runner import tune_garbage_collection
from flows.runtime.steps.features import GatherStep, IntakeStep, WindowsStep
from flows.runtime.steps.learning import LearnStep
from flows.runtime.steps.scoring import PredictStep
from scripts.benchmarks import drift, features, generated, labels, online, outliers
from scripts.benchmarks.peers import compare
from scripts.tools.fresh import REPOSITORY, fresh_project

BATCH = 1000
BENCHMARKS = [
    "smoke",
    "features",
    "labels",
    "drift",
    "generated",
    "outliers",
    "peers",
    "compare",
]

console = Console()


def main() -> int:
    """Run the chosen benchmark and return the exit code."""
    options = _options()
    if options.benchmark == "drift":
        return drift.main()
    if options.benchmark == "generated":
        return generated.main()
    if options.benchmark == "outliers":
        return outliers.main()
    if options.benchmark == "labels":
        console.print(labels.table(pending=1_000_000))
        return 0
    if options.benchmark == "compare":
        return compare.compare(*options.files)
    if options.benchmark == "peers":
        return compare.main(options)
    tune_garbage_collection()  # as the flows do, for a fair comparison
    if options.benchmark == "features":
        feature_tables()
        return 0
    brokers = ["" if broker == "log" else broker for broker in options.broker]
    rows = [row for broker in brokers for row in smoke(broker, options.events)]
    table = Table("flow", "broker", "bare loop (events/s)", "flow (events/s)", "ratio")
    for flow, broker, bare, real in rows:
        table.add_row(flow, broker, f"{bare:,.0f}", f"{real:,.0f}", f"{real / bare:.2f}")
    console.print(table)
    return 0


def feature_tables() -> None:
    """Print each table as soon as it is measured."""
    console.print(features.growth([10_000, 100_000, 1_000_000]))
    console.print(features.speed(warm=360_000, events=50_000, runs=3))
    console.print(online.writes())
    console.print(online.freshness(events=100))


def smoke(broker_url: str, events: int) -> Iterator[tuple[str, str, float, float]]:
    """Yield (flow, broker, events/s of the bare loop, events/s of the flow)."""
    os.environ |= {"DRIFTLINE_BROKER": broker_url, "DRIFTLINE_HTTP_PORT": "0", "RUST_BACKTRACE": "0"}
    running = fresh_project(REPOSITORY / ".driftline" / "bench")
    broker = running.open_broker()
    name = running.settings.broker.partition("://")[0]
    publish(broker, list(running.pipeline.load_dataset(events)))
    pipeline = running.pipeline

    sources = [stream.topic for stream in pipeline.feature_streams]
    records = sorted(_records(broker, sources), key=lambda record: record.timestamp)
    bare = events / _seconds(lambda: bare_predict(running, records))
    predictions = pipeline.topic("predictions")
    yield "predict", name, bare, rate_of_flow("predict", lambda: _end(broker, predictions), events)

    topics = [predictions, pipeline.labels.topic]
    records = sorted(_records(broker, topics), key=lambda record: record.timestamp)
    bare = events / _seconds(lambda: bare_learn(running, records))
    labels = pipeline.labels.topic
    group = pipeline.group("learn")
    done = lambda: sum(broker.committed(group, labels).values())  # noqa: E731
    yield "learn", name, bare, rate_of_flow("learn", done, events)


def publish(broker: Broker, records: Sequence[Outgoing]) -> None:
    """Write all records to the broker."""
    producer = broker.producer()
    iterator = iter(records)
    while batch := list(islice(iterator, BATCH)):
        producer.send(batch)
    producer.close()


def bare_predict(running: Engine, records: Sequence[Record]) -> None:
    """The work of the predict flow on one batch after the other, and nothing else."""
    plan = running.state.plan()
    intake, split, assemble = (
        IntakeStep(running.pipeline, plan, None, None),
        BatchSplitter(plan),
        GatherStep(plan),
    )
    predict = PredictStep(running.pipeline, plan, running.sealer(), None)
    windows: dict[str, WindowsStep] = {}
    idle = IdleIndex(plan.lateness)
    by_entity = EntityRouter(idle)
    for start in range(0, len(records), BATCH):
        (batch,) = intake.take([("0", list(records[start : start + BATCH]))])
        ordered = split(batch)
        parts: list[Any] = [ordered]
        for key, steps in by_entity(("0", ordered)):
            if key not in windows:
                windows[key] = WindowsStep(plan, idle, None, None)
            parts += windows[key].take([steps])
        predict.take(list(assemble.take(parts)))


def bare_learn(running: Engine, records: Sequence[Record]) -> None:
    """The work of the learn flow on one batch after the other, and nothing else."""
    learn = LearnStep(
        running.pipeline,
        running.state.plan(),
        running.io,
        running.sealer(),
        running.settings.model_seconds,
        None,
    )
    for start in range(0, len(records), BATCH):
        learn.take([list(records[start : start + BATCH])])


def rate_of_flow(flow: str, done: Callable[[], int], events: int) -> float:
    """Run the flow in its own process; return its events/s from the first output to the last."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.runtime.runner", flow], stderr=subprocess.DEVNULL
    )
    try:
        first = _wait(done, 1, process)
        began = time.monotonic()
        _wait(done, events, process)
        return (events - first) / (time.monotonic() - began)
    finally:
        process.terminate()
        process.wait()


def _wait(done: Callable[[], int], count: int, process: subprocess.Popen[bytes]) -> int:
    while (now := done()) < count:
        if process.poll() is not None:
            raise SystemExit(f"the flow exited with code {process.returncode}")
        time.sleep(0.005)
    return now


def _records(broker: Broker, topics: Sequence[str]) -> list[Record]:
    return [
        record
        for topic in topics
        for number, (start, end) in enumerate(broker.offsets(topic))
        for batch in read_range(broker, TopicPartition(topic, number), start, end)
        for record in batch
    ]


def _end(broker: Broker, topic: str) -> int:
    return sum(end for _, end in broker.offsets(topic))


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="two result files, for compare")
    parser.add_argument(
        "--events", type=int, default=30_000, metavar="N", help="events of smoke and peers (default: 30000)"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="rounds of peers (default: 3)")
    parser.add_argument(
        "--broker",
        action="append",
        metavar="URL",
        help="log or kafka://host:port; repeatable (default: log, and DRIFTLINE_BROKER if that is Kafka)",
    )
    options = parser.parse_args()
    environment = os.environ.get("DRIFTLINE_BROKER", "")
    options.broker = options.broker or ["log", *([environment] if environment.startswith("kafka") else [])]
    return options


if __name__ == "__main__":
    sys.exit(main())
