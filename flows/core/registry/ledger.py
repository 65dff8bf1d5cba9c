"""The writing side of the registry: numbers, chains and signs entries, each of them once."""

from collections import deque
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from msgspec.structs import replace

from flows.core.registry.entry import ENGINE, Change, Entry, EntrySealer, Link, Snapshot
from flows.core.registry.registry import Registry
from flows.core.stored_format import REGISTRY
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso

LATE = 1_000  # steps, within which a crash may change the order of what the learner reads


class Moment(NamedTuple):
    """When something happened: the event time (ms), and how many labels and events were handled before."""

    time: int
    steps: int


class Author(NamedTuple):
    """Who changed something and why; `command` is the id of the command that asked for it, if one did."""

    who: str = ENGINE
    why: str = ""
    command: str = ""


class Ledger:
    """Appends to the registry of one pipeline; `registry` has what the stored state includes.

    `ahead` are the entries that the log has beyond that, because the flow crashed between writing them and
    storing its state. The learner handles the same records again, so it comes to the same entries, which are
    then taken from the log. If it comes to another one, since it read its topics in another order, they are
    reverted by an entry that says so.
    """

    def __init__(
        self, pipeline: str, topic: str, sealer: EntrySealer, registry: Registry, ahead: Sequence[Link] = ()
    ) -> None:
        self.registry = registry
        self._pipeline = pipeline
        self._topic = topic
        self._sealer = sealer
        self._ahead = deque(ahead)
        self._take_reverted()

    def add(
        self,
        change: Change,
        version: str,
        moment: Moment,
        author: Author,
        *,
        learned: int = 0,
        snapshot: Snapshot | None = None,
        figures: Mapping[str, Any] | None = None,
        lineage: Mapping[str, Any] | None = None,
    ) -> list[Outgoing]:
        """Append an entry; return the records, none if the log has it already."""
        entry = Entry(
            format=str(REGISTRY),
            pipeline=self._pipeline,
            number=self.registry.chain.number + 1,
            previous=self.registry.chain.digest,
            time=iso(moment.time),
            steps=moment.steps,
            change=change,
            version=version,
            who=author.who,
            why=author.why,
            command=author.command,
            learned=learned,
            snapshot=snapshot,
            figures=dict(figures or {}),
            lineage=dict(lineage or {}),
        )
        if self._ahead and _same(self._ahead[0].entry, entry):
            self._take(1)
            return []
        reverted = self.revert(moment)
        if reverted:
            entry = _renumbered(entry, self.registry)
        record, link = self._sealer.seal(self._topic, entry, moment.time)
        self.registry.add(link)
        return [*reverted, record]

    @property
    def is_behind(self) -> bool:
        """Whether the log has entries that the learner has not come to again."""
        return bool(self._ahead)

    @property
    def overdue_at(self) -> float:
        """The number of steps after which the learner no longer comes to the next entry of the log."""
        return self._ahead[0].entry.steps + LATE if self._ahead else inf

    def revert(self, moment: Moment) -> list[Outgoing]:
        """Enter that the rest of the log did not happen, and go on after it; return the record, if any."""
        if not self._ahead:
            return []
        lasting = self.registry.chain.number
        self._take(len(self._ahead))
        why = "after a crash the learner decided otherwise"
        return self.add("reverted", "", moment, Author(why=why), figures={"to": lasting})

    def _take(self, number: int) -> None:
        """Take entries from the log, and those after them that were reverted already."""
        for _ in range(number):
            self.registry.add(self._ahead.popleft())
        self._take_reverted()

    def _take_reverted(self) -> None:
        """Take the next entries of the log if an earlier life of the flow reverted them."""
        end = self.registry.chain.number
        for number, link in enumerate(self._ahead, 1):
            if link.entry.change == "reverted" and link.entry.figures["to"] == end:
                self._take(number)
                return


def _same(logged: Entry, made: Entry) -> bool:
    """Return whether the entry in the log is the one that the learner makes again.

    A command may be read among other labels than before the crash, so the number of steps may differ.
    """
    return (logged.change, logged.version, logged.command) == (made.change, made.version, made.command)


def _renumbered(entry: Entry, registry: Registry) -> Entry:
    return replace(entry, number=registry.chain.number + 1, previous=registry.chain.digest)
