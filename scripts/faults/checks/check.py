"""What a verifier says."""

from collections.abc import Sequence
from typing import NamedTuple

SHOWN = 3  # violations listed per check


class Check(NamedTuple):
    """A guarantee: the number of things checked, and those that violate it."""

    name: str
    checked: int
    wrong: Sequence[str]
