"""Runs a year of real flights through all five flows, with a dashboard, and prints a summary.

The project is in .driftline/demo and is recreated on every run. The broker is the embedded log or, with
DRIFTLINE_BROKER=kafka://host:port, Kafka.
"""

import argparse
import base64
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.adapters.http.receiver import Receiver
from flows.backtest.summary import drift_row, roc_auc
from flows.core.drift.signal import DriftSignal
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Broker, Outgoing, Record, TopicPartition, read_range
from flows.errors import DriftlineError
from flows.host.patience import Patience
from flows.jobs.publishing.bounded_lag import BoundedLag, default_step
from flows.jobs.publishing.publisher import publish
from flows.runtime.engine import Engine
from scripts.tools.demo_flows import Flows, free_ports
from scripts.tools.fresh import REPOSITORY, fresh_project

DEMO = REPOSITORY / ".driftline" / "demo"
BOUND = 6 * 3_600_000  # ms of event time; the largest lag of the flows behind the publisher
LIVE_EVENTS = 500  # published last, one by one at LIVE_RATE, to measure latency without queueing
LIVE_RATE = 400  # records/s, about 100 events/s
DEADLINE = 600.0  # seconds within which the flows must catch up at the end

console = Console()


def main() -> int:
    """Run the demo and return the exit code."""
    options = _options()
    try:
        summary = run(options.events, options.verbose)
        show(summary)
        if options.summary:
            options.summary.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
        if options.keep:
            keep(options.verbose)
    except DriftlineError as error:
        console.print(f"[red]demo:[/red] {error}", highlight=False)
        return 2
    return 0


def run(events: int | None, verbose: bool) -> dict[str, Any]:
    """Run the flows over the first `events` flights and return the summary."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    with Receiver(secret) as receiver:
        os.environ |= {
            "DRIFTLINE_WEBHOOK_URL": receiver.url,
            "DRIFTLINE_WEBHOOK_SECRET": secret,
            "DRIFTLINE_WEBHOOK_ALLOW_PRIVATE": "true",  # the receiver is on loopback
            "DRIFTLINE_MODEL_SECONDS": "0.05",  # a day passes in half a second
            "DRIFTLINE_HTTP_PORT": os.environ.get("DRIFTLINE_HTTP_PORT") or str(free_ports()),
        }
        running = fresh_project(DEMO)
        broker = running.open_broker()
        with console.status("reading the flights"):
            dataset = running.pipeline.load_dataset(events)
        with Flows(DEMO, console, verbose), Watcher(running) as watcher:
            replay_seconds = publish_all(broker, running, dataset, watcher)
            wait_until_drained(broker, running)
        return summarise(broker, running, receiver, watcher, replay_seconds)


def keep(verbose: bool) -> None:
    """Run the flows and the dashboard again until Ctrl-C."""
    with Flows(DEMO, console, verbose):
        console.print("Ctrl-C ends the flows and the dashboard")
        with suppress(KeyboardInterrupt):
            signal.pause()


class Watcher(threading.Thread):
    """Consumes the predictions as an application would, and measures their latency."""

    def __init__(self, running: Engine) -> None:
        super().__init__(daemon=True)
        self._running = running
        self._end = threading.Event()
        self.scores: dict[str, float] = {}
        self.repeats = 0
        self.latencies: list[float] = []  # seconds from publication to arrival, in order of arrival

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        """Read predictions until the block ends."""
        broker = self._running.open_broker()
        topic = self._running.pipeline.topic("predictions")
        consumer = broker.consumer("driftline.demo", {TopicPartition(topic, 0): 0})
        while not self._end.is_set():
            records = consumer.poll(1000, 0.1)
            now = time.time_ns() // 1000
            for record in records:
                self._take(record, now)
        consumer.close()
        broker.close()

    def _take(self, record: Record, now: int) -> None:
        body = orjson.loads(record.value or b"")
        self.repeats += body["id"] in self.scores
        self.scores[body["id"]] = body["score"]
        self.latencies.append((now - int(dict(record.headers)[predictions.PUBLISHED_AT])) / 1e6)


class Steady:
    """A pace for `publish`: `rate` records per second, regardless of event time."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Return whether the next record is due."""
        return time.monotonic() >= self._next

    def rest(self) -> None:
        """Sleep until the next record is due."""
        time.sleep(max(0.0, self._next - time.monotonic()))

    def sent(self, first: int, ends: Mapping[TopicPartition, int]) -> None:
        """Schedule the next record."""
        self._next += 1 / self._rate

    def answered(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Return True: labels are published at their time."""
        return True


def publish_all(broker: Broker, running: Engine, dataset: Any, watcher: Watcher) -> float:
    """Publish as fast as the flows keep up, then the last events live; return the seconds before those."""
    live = min(LIVE_EVENTS, dataset.events // 10)
    records: Iterator[Outgoing] = iter(dataset)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting the flows", total=dataset.events)
        wait_until_ready(broker, running)
        began = time.monotonic()
        patience = Patience(lambda _: None)
        pace = BoundedLag(broker, running.pipeline, BOUND, patience, lambda _: True)
        producer = broker.producer()
        replayed = _until(records, running.pipeline.events.topic, dataset.events - live)
        for _ in publish(producer, running.pipeline, replayed, pace, default_step(BOUND)):
            seconds = time.monotonic() - began
            rate = len(watcher.scores) / seconds
            bar.update(task, completed=len(watcher.scores), description=f"{rate:,.0f} predictions/s")
        _wait_for_scores(watcher, dataset.events - live)
        seconds = time.monotonic() - began
        bar.update(task, description=f"live, {LIVE_RATE} records/s")
        for _ in publish(producer, running.pipeline, records, Steady(LIVE_RATE), 0):
            bar.update(task, completed=len(watcher.scores))
        producer.close()
        _wait_for_scores(watcher, dataset.events)
        bar.update(task, completed=len(watcher.scores), description="all events are predicted")
    return seconds


def _until(records: Iterator[Outgoing], topic: str, events: int) -> Iterator[Outgoing]:
    """Yield the records up to event number `events`."""
    for record in records:
        yield record
        events -= record.topic == topic
        if not events:
            return


def _wait_for_scores(watcher: Watcher, events: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while len(watcher.scores) < events and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_until_ready(broker: Broker, running: Engine) -> None:
    """Wait until the predict and learn flows have committed their first offsets."""
    pipeline = running.pipeline
    groups = {"predict": pipeline.events.topic, "learn": pipeline.labels.topic}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(broker.committed(pipeline.group(flow), topic) for flow, topic in groups.items()):
            return
        time.sleep(0.1)


def wait_until_drained(broker: Broker, running: Engine) -> None:
    """Wait until no flow has a lag in two successive looks."""
    read_by = {
        "predict": [s.topic for s in running.pipeline.feature_streams],
        "learn": [running.pipeline.labels.topic, running.pipeline.topic("predictions")],
        "materialize": [running.pipeline.topic("features"), running.pipeline.topic("predictions")],
        "alert": [running.pipeline.topic("drift")],
        "retrain": [running.pipeline.topic("drift")],
    }
    deadline, quiet = time.monotonic() + DEADLINE, 0
    with console.status("waiting until every flow has read everything"):
        while quiet < 2 and time.monotonic() < deadline:
            lags = [
                _lag(broker, running.pipeline.group(flow), topic)
                for flow, topics in read_by.items()
                for topic in topics
            ]
            quiet = 0 if any(lags) else quiet + 1
            time.sleep(0.5)


def _lag(broker: Broker, group: str, topic: str) -> int:
    committed = broker.committed(group, topic)
    return sum(end - committed.get(p, 0) for p, (_, end) in enumerate(broker.offsets(topic)))


def summarise(
    broker: Broker, running: Engine, receiver: Receiver, watcher: Watcher, replay_seconds: float
) -> dict[str, Any]:
    """Return the figures of the run, from the topics."""
    pipeline = running.pipeline
    truths = {
        body[pipeline.labels.id]: body[pipeline.target]
        for body in map(_json, _records(broker, pipeline.labels.topic))
    }
    joined = [(score, truths[event]) for event, score in watcher.scores.items() if event in truths]
    last = None
    for record in _records(broker, pipeline.topic("metrics")):
        last = _json(record)
    live = min(LIVE_EVENTS, len(watcher.latencies) // 10)
    versions = model_versions(map(_json, _records(broker, pipeline.topic("models"))))
    signals = [
        DriftSignal.from_json(record.value or b"") for record in _records(broker, pipeline.topic("drift"))
    ]
    return {
        "broker": running.settings.broker.partition("://")[0],
        "events": sum(end for _, end in broker.offsets(pipeline.events.topic)),
        "predictions": sum(end for _, end in broker.offsets(pipeline.topic("predictions"))),
        "predictions_repeated": watcher.repeats,
        "labels_joined": last["labels"] if last else 0,
        "dead_letters": sum(end for _, end in broker.offsets(pipeline.topic("dead-letters"))),
        "replay_seconds": round(replay_seconds, 1),
        "events_per_second": round((len(watcher.scores) - live) / replay_seconds),
        "latency_ms": {
            "live": _percentiles(watcher.latencies[-live:]),
            "replay": _percentiles(watcher.latencies[:-live]),
        },
        "roc_auc": roc_auc([s for s, _ in joined], [t for _, t in joined]),
        "metrics": last["metrics"] if last else {},
        "drift": [drift_row(s) | {"action": _action(s, versions)} for s in signals],
        "models": list(versions.values()),
        "alerts": {
            "verified": len(receiver.alerts),
            "rejected": receiver.rejected,
            "ids": [alert["id"] for alert in receiver.alerts],
        },
    }


def model_versions(messages: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each version with its lineage, the first time of each role, and its learned labels."""
    versions: dict[str, dict[str, Any]] = {}
    for message in messages:
        version = versions.setdefault(
            message["version"], {"version": message["version"], "roles": {}, "lineage": message["lineage"]}
        )
        version["roles"].setdefault(message["role"], message["time"])
        version["learned"] = message["learned"]
    return versions


def _action(signal: DriftSignal, versions: Mapping[str, dict[str, Any]]) -> str:
    for version in versions.values():
        if version["lineage"].get("drift") == signal.id:
            trained = f"{version['version']} trained on {version['lineage']['trained_on']:,} labels"
            if "champion" in version["roles"]:
                return f"{trained}, promoted {version['roles']['champion'][:10]}"
            if "retired" in version["roles"]:
                return f"{trained}, no better: retired {version['roles']['retired'][:10]}"
            return f"{trained}, still a challenger"
    asks = signal.kind == "concept" and signal.level == "alarm" and signal.status == "firing"
    return "too few labels since the change: no challenger" if asks else "asks for no challenger"


def show(summary: Mapping[str, Any]) -> None:
    """Print the summary as tables."""
    s = summary
    live, replay = s["latency_ms"]["live"], s["latency_ms"]["replay"]
    table = Table(title=f"{s['events']:,} flights", show_header=False, title_justify="left")
    table.add_row("events", f"{s['events']:,}")
    table.add_row("predictions", f"{s['predictions']:,} ({s['predictions_repeated']} repeated)")
    table.add_row("labels joined", f"{s['labels_joined']:,}")
    table.add_row("dead letters", f"{s['dead_letters']:,}")
    table.add_row("throughput", f"{s['events_per_second']:,} events/s for {s['replay_seconds']} s")
    table.add_row("latency, live", f"p50 {live['p50']} ms, p99 {live['p99']} ms at {LIVE_RATE} records/s")
    table.add_row("latency, replay", f"p50 {replay['p50']} ms, p99 {replay['p99']} ms at full speed")
    table.add_row("ROC AUC (exact)", f"{s['roc_auc']:.4f}")
    console.print(table)
    console.print(_metrics_table(s["metrics"]))
    console.print(_drift_table(s["drift"]))
    console.print(_model_table(s["models"]))
    alerts = s["alerts"]
    console.print(
        f"webhooks: {alerts['verified']} alerts received and verified, {alerts['rejected']} rejected",
        highlight=False,
    )


def _metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    names = list(next(iter(metrics.values())))
    table = Table("predictor", *names)
    for predictor, values in metrics.items():
        table.add_row(predictor, *[f"{values[name]:.4f}" for name in names])
    return table


def _drift_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("drift", "severity", "error", "labels kept", "what the engine did")
    for row in rows:
        error = f"{row['before']:.3f} → {row['after']:.3f}"
        table.add_row(row["time"][:10], row["severity"], error, f"{row['kept']:,}", row["action"])
    return table


def _model_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("model", "labels learned", "challenger", "champion", "retired")
    for row in rows:
        roles = row["roles"]
        days = [roles[role][:10] if role in roles else "" for role in ("challenger", "champion", "retired")]
        table.add_row(row["version"], f"{row['learned']:,}", *days)
    return table


def _records(broker: Broker, topic: str) -> Iterator[Record]:
    for number, (start, end) in enumerate(broker.offsets(topic)):
        for records in read_range(broker, TopicPartition(topic, number), start, end):
            yield from records


def _json(record: Record) -> Any:
    return orjson.loads(record.value or b"")


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99]) if seconds else (0.0, 0.0)
    return {"p50": round(1000 * float(p50), 1), "p99": round(1000 * float(p99), 1)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--events", type=int, metavar="N", help="only the first N flights")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="also write the summary as JSON")
    parser.add_argument("--verbose", action="store_true", help="show the output of the flows")
    parser.add_argument(
        "--keep", action="store_true", help="keep the flows and the dashboard until Ctrl-C at the end"
    )
    options = parser.parse_args()
    options.summary = options.summary and options.summary.resolve()
    if options.events is not None and options.events < 100:
        parser.error("--events must be at least 100")
    return options


if __name__ == "__main__":
    sys.exit(main())
