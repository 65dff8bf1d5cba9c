"""Figures of works that take turns with a loop that does the same."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from scripts.benchmarks.harness.figures import CPU, Figure


class Work(NamedTuple):
    """Two measurements of the same work, in events/s of CPU time."""

    ours: Callable[[], float]
    theirs: Callable[[], float]


def in_turns(works: Mapping[str, Work], baseline: str, runs: int) -> Iterator[Figure]:
    """Yield a figure for each work, over `runs` rounds."""
    rates: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in works}
    for _ in range(runs):
        for name, (ours, theirs) in rates.items():
            ours.append(works[name].ours())
            theirs.append(works[name].theirs())
    for name, (ours, theirs) in rates.items():
        yield Figure(name, baseline, CPU, ours, theirs)
