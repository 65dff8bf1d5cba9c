"""The project of the ten numbers, with its events and labels."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from flows.core.stream.broker import Outgoing
from scripts.benchmarks.harness.site import Site, fresh_folder
from scripts.benchmarks.peers import model

EVENTS, LABELS = "bench_events", "bench_labels"
LABEL_DELAY = 5_000  # ms
PROJECT = Path(__file__).parents[1] / "projects" / "ten_numbers"


def site(folder: Path, broker: str = "", environment: Mapping[str, str] | None = None) -> Site:
    """Return the project in `folder`, which is replaced."""
    return Site(fresh_folder(PROJECT, folder, Path(model.__file__)), broker, environment)


def event_records(count: int) -> Iterator[Outgoing]:
    """Yield `count` events."""
    for event in model.events(count):
        yield Outgoing(EVENTS, orjson.dumps(event), event["id"].encode(), timestamp=event["ts"])


def label_records(count: int, delay: int = LABEL_DELAY) -> Iterator[Outgoing]:
    """Yield the labels of `count` events, each `delay` ms later."""
    for event in model.events(count):
        time = event["ts"] + delay
        value = orjson.dumps({"id": event["id"], "ts": time, "y": bool(event["y"])})
        yield Outgoing(LABELS, value, event["id"].encode(), timestamp=time)


def events_file(file: Path, count: int) -> Path:
    """Write `count` events, one a line, for the bare loop."""
    file.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in model.events(count)))
    return file
