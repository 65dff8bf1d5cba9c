"""The project of twelve windows on two entities."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.core.stream.broker import Outgoing, Record
from scripts.benchmarks.harness.site import Site, fresh_folder

PROJECT = Path(__file__).parents[1] / "projects" / "windows"


def site(folder: Path) -> Site:
    """Return the project in `folder`, which is replaced, on the embedded log."""
    return Site(fresh_folder(PROJECT, folder))


def outgoing(records: Iterable[Record]) -> Iterator[Outgoing]:
    """Yield the records as a publisher sends them."""
    for record in records:
        yield Outgoing(record.topic, record.value, record.key, timestamp=record.timestamp)
