"""Counts dead letters by reason, with one example of each."""

from collections import Counter
from typing import NamedTuple

from flows.core.stream.broker import Outgoing


class Dead(NamedTuple):
    """A record that cannot be used: where it stands, and why."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str


def dead_of(letter: Outgoing) -> Dead:
    """What the headers of a dead letter say, which `flows.core.stream.dead_letter.dead_letter` wrote."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in letter.headers}
    place = headers["topic"], int(headers["partition"]), int(headers["offset"])
    return Dead(*place, headers["reason"], headers["detail"])


class DeadTally:
    """How many records each reason has, the first of each, and the first error of the user's own code."""

    def __init__(self) -> None:
        self.number: Counter[str] = Counter()
        self.first: dict[str, Dead] = {}
        self.error: Exception | None = None

    def add(self, dead: Dead) -> None:
        """Count one."""
        self.number[dead.reason] += 1
        self.first.setdefault(dead.reason, dead)

    def failed(self, error: Exception) -> None:
        """Note what the user's own code raised; the first one stays."""
        if self.error is None:
            self.error = error

    @property
    def total(self) -> int:
        """How many there are of all reasons."""
        return self.number.total()
