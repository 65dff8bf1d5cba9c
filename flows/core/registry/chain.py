"""The chain of the registry: which entries continue it, and what breaks it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flows.core.registry.entry import GENESIS, EntrySealer, Link
from flows.core.stream.broker import Record
from flows.errors import RegistryError


class Break(NamedTuple):
    """A record of the registry topic that does not continue the chain, and why."""

    partition: int
    offset: int
    fault: str


class Chain:
    """The end of a chain of entries: the number and the digest of its last one."""

    def __init__(self) -> None:
        self.number = 0
        self.digest = GENESIS

    def fault(self, link: Link) -> str | None:
        """Return why an entry does not continue the chain, None if it does."""
        number, expected = link.entry.number, self.number + 1
        if number < expected:
            return f"entry {number} comes again after entry {self.number}; it was ignored"
        if number > expected:
            missing = str(expected) if number == expected + 1 else f"{expected} to {number - 1}"
            return f"entry {missing} is missing before entry {number}"
        if link.entry.previous != self.digest:
            return f"entry {number} refers to another entry {self.number} than the one before it"
        return None

    def add(self, link: Link) -> None:
        """Continue the chain with an entry."""
        self.number, self.digest = link.entry.number, link.digest


def read_chain(records: Iterable[Record], sealer: EntrySealer) -> Iterator[Link | Break]:
    """Yield the entries in the log, and what breaks their chain.

    Records that are unsigned, altered, of another pipeline or repeated are no entries. After a gap the chain
    continues with the next entry, so each break is named once.
    """
    chain = Chain()
    for record in records:
        try:
            link = sealer.open(record)
        except RegistryError as error:
            yield Break(record.partition, record.offset, str(error))
            continue
        if fault := chain.fault(link):
            yield Break(record.partition, record.offset, fault)
        if link.entry.number > chain.number:
            chain.add(link)
            yield link
