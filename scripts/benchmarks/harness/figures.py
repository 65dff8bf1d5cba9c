"""The figures of a run, stored with the machine, the versions and the commit as one JSON document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import orjson

SCHEMA = "driftline-bench/1"
CPU, WALL = "events/s of CPU time", "events/s"


class Key(NamedTuple):
    """Identifies a figure among those of a run."""

    work: str
    baseline: str
    unit: str


@dataclass(frozen=True)
class Figure:
    """Measurements of Driftline and of a baseline, taken in turns, both in `unit`.

    Without `baseline` the figure is absolute, and `theirs` is empty. `higher_is_better` says whether a larger
    result is an improvement.
    """

    work: str
    baseline: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = field(default_factory=list)
    higher_is_better: bool = True

    @property
    def key(self) -> Key:
        """The identity of the figure."""
        return Key(self.work, self.baseline, self.unit)

    @property
    def results(self) -> list[float]:
        """The ratio of ours to theirs in each round, or ours without a baseline.

        >>> Figure("predict", "bare loop", CPU, [10, 30], [20, 20]).results
        [0.5, 1.5]
        >>> Figure("at rest", "", "MB", [400]).results
        [400]
        """
        if not self.baseline:
            return list(self.ours)
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def result(self) -> float:
        """The median of the results."""
        return median(self.results)


class Document(NamedTuple):
    """The stored results of one run: the figures of each benchmark, and the circumstances."""

    circumstances: Mapping[str, Any]
    benchmarks: Mapping[str, Sequence[Figure]]

    def figures(self) -> dict[Key, Figure]:
        """Return all figures by their keys."""
        return {figure.key: figure for figures in self.benchmarks.values() for figure in figures}


def save(
    circumstances: Mapping[str, Any], benchmarks: Mapping[str, Iterable[Figure]], file: Path
) -> Document:
    """Write the figures of a run; return what `load` returns."""
    rows = {name: [_row(figure) for figure in figures] for name, figures in benchmarks.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "circumstances": circumstances, "benchmarks": rows}
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    return load(file)


def load(file: Path) -> Document:
    """Return the document that `save` wrote; raises `SystemExit` for another schema."""
    document = orjson.loads(file.read_bytes())
    if document.get("schema") != SCHEMA:
        raise SystemExit(
            f"{file} must have the schema {SCHEMA!r}, got {document.get('schema')!r}; measure again"
        )
    return Document(
        document["circumstances"],
        {name: list(_figures(rows)) for name, rows in document["benchmarks"].items()},
    )


def _row(figure: Figure) -> dict[str, Any]:
    rounded = {name: [_short(value) for value in getattr(figure, name)] for name in ("ours", "theirs")}
    return asdict(figure) | rounded | {"result": _short(figure.result)}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _figures(rows: Iterable[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        yield Figure(**{name: value for name, value in row.items() if name != "result"})
