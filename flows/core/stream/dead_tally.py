"""Counts dead letters by reason, with one example of each."""

from collections import Counter
from typing import NamedTuple

from flows.core.stream.broker import Outgoing


class Dead(NamedTuple):
    """A record that cannot be used: its position and the reason."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str


def dead_of(letter: Outgoing) -> Dead:
    """Return the record that the headers of a dead letter describe; `dead_letter.dead_letter` wrote them."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in letter.headers}
    place = headers["topic"], int(headers["partition"]), int(headers["offset"])
    return Dead(*place, headers["reason"], headers["detail"])


class DeadTally:
    """The number of records and the first example for each reason, and the first error of user code."""

    def __init__(self) -> None:
        self.number: Counter[str] = Counter()
        self.first: dict[str, Dead] = {}
        self.error: Exception | None = None

    def add(self, dead: Dead) -> None:
        """Count one record."""
        self.number[dead.reason] += 1
        self.first.setdefault(dead.reason, dead)

    def failed(self, error: Exception) -> None:
        """Keep `error`, which user code raised, if it is the first."""
        if self.error is None:
            self.error = error

    @property
    def total(self) -> int:
        """The number of records, over all reasons."""
        return self.number.total()
