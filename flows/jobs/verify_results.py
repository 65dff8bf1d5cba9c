"""Results of comparing served features with a recomputation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Explained(NamedTuple):
    """A record that arrived after a question was answered, and so explains a difference."""

    view: str
    question: str
    record: str
    topic: str
    partition: int
    offset: int


class Mismatch(NamedTuple):
    """A question whose served features differ from the log, not only by later records."""

    view: str
    question: str
    key: str | int | None
    served: Sequence[Any]
    expected: Sequence[Any]


@dataclass
class ViewResult:
    """Counts of one view's questions, compared with the recomputation and with Feast's join.

    `feast_rows` is None if Feast was not compared. A transform is compared with Feast only, which runs its
    function over the joined features.
    """

    view: str
    features: int
    rows: int = 0
    explained: int = 0
    mismatches: int = 0
    feast_rows: int | None = None
    feast_mismatches: int = 0
    explanations: list[Explained] = field(default_factory=list)
    examples: list[Mismatch] = field(default_factory=list)

    @property
    def equal(self) -> int:
        """Questions whose served features equal the recomputation."""
        return self.rows - self.explained - self.mismatches
