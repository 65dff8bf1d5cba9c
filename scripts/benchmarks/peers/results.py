"""Results of a run as ratios with their spread: stored as JSON, compared, and shown as tables."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psutil
from rich.table import Table

FALL = 0.1  # a larger relative change of a ratio counts as better or worse
PACKAGES = ("bytewax", "confluent-kafka", "river", "orjson", "numpy")


@dataclass(frozen=True)
class Figure:
    """Measurements of Driftline and of a baseline, taken in turns, both in `unit`.

    `higher_is_better` says whether a larger ratio of ours to the baseline's is an improvement.
    """

    work: str
    baseline: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    higher_is_better: bool = True

    @property
    def ratio(self) -> float:
        """The median of ours divided by the median of theirs."""
        return median(self.ours) / median(self.theirs)


def save(figures: Sequence[Figure], file: Path) -> None:
    """Write the figures together with the machine, the versions and the commit."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(figure), "ratio": figure.ratio} for figure in figures]
    document = {"of": _circumstances(), "figures": rows}
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def load(file: Path) -> dict[str, Any]:
    """Return the document that `save` wrote."""
    document: dict[str, Any] = orjson.loads(file.read_bytes())
    return document


def table(figures: Sequence[Figure]) -> Table:
    """Return a table with a row per figure: medians, the spread of ours, and the ratio."""
    shown = Table("work", "baseline", "unit", "baseline's", "ours", "from", "to", "ratio")
    for figure in figures:
        values = (median(figure.theirs), median(figure.ours), min(figure.ours), max(figure.ours))
        cells = [f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in values]
        shown.add_row(figure.work, figure.baseline, figure.unit, *cells, f"{figure.ratio:.2f}")
    return shown


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Table:
    """Return a table of the ratios in two documents, with the changes beyond `FALL` marked."""
    shown = Table("work", "baseline", "before", "after", "change", "")
    before = {(row["work"], row["baseline"], row["unit"]): row for row in old["figures"]}
    for row in new["figures"]:
        was = before.get((row["work"], row["baseline"], row["unit"]))
        if was is not None:
            change = row["ratio"] / was["ratio"]
            gain = change if row["higher_is_better"] else 1 / change
            verdict = "worse" if gain < 1 - FALL else "better" if gain > 1 + FALL else ""
            cells = [f"{value:.2f}" for value in (was["ratio"], row["ratio"], change)]
            shown.add_row(row["work"], row["baseline"], *cells, verdict)
    return shown


def _circumstances() -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "clean": not _git("status", "--porcelain"),
        "python": platform.python_version(),
        "cores": psutil.cpu_count(),
        "load": psutil.getloadavg()[0],
        "versions": {name: version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str:
    command = ["git", *arguments]  # of this checkout
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
