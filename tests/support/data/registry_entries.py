"""Entries of a registry, for tests: a chain of changes, and its records on the topic."""

from collections.abc import Sequence
from typing import Any

from flows.core.registry.entry import Entry, EntrySealer, Link
from flows.core.registry.ledger import Author, Ledger, Moment
from flows.core.registry.registry import Registry
from flows.core.stream.broker import Outgoing, Record

SECRET = b"a secret of thirty-two bytes, ok"
NAME = "shop"
TOPIC = "shop.registry"
SEALER = EntrySealer(NAME, [SECRET])


def new_ledger(registry: Registry | None = None, ahead: Sequence[Link] = ()) -> Ledger:
    return Ledger(NAME, TOPIC, SEALER, registry or Registry(), ahead)


def add(ledger: Ledger, change: str, version: str = "v1", steps: int = 0, **more: Any) -> list[Outgoing]:
    author = Author(why="a test", command=more.pop("command", ""))
    return ledger.add(change, version, Moment(steps, steps), author, **more)  # type: ignore[arg-type]


def written(changes: Sequence[tuple[str, str]]) -> list[Outgoing]:
    """Return the records of changes of versions, one a step."""
    ledger = new_ledger()
    return [record for steps, each in enumerate(changes) for record in add(ledger, *each, steps=steps)]


def on_topic(records: Sequence[Outgoing]) -> list[Record]:
    return [
        Record(each.topic, 0, offset, each.timestamp or 0, each.key, each.value, each.headers)
        for offset, each in enumerate(records)
    ]


def entries(records: Sequence[Record]) -> list[Entry]:
    return [SEALER.open(record).entry for record in records]
