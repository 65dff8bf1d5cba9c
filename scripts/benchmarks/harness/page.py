"""Generates the tables of docs/performance.md from stored results; the prose between them is by hand."""

import re
from collections.abc import Sequence

from scripts.benchmarks.harness import targets
from scripts.benchmarks.harness.figures import Document, Figure
from scripts.benchmarks.harness.report import cells
from scripts.tools.fresh import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
RESULTS = REPOSITORY / "docs" / "performance.json"

_PART = re.compile(r"<!-- bench: (\S+) -->\n.*?<!-- end of bench -->", re.DOTALL)
_HEADER = ("work", "baseline", "unit", "baseline's", "Driftline", "ratio")


def generate(page: str, document: Document) -> str:
    """Return the page with each part between `<!-- bench: NAME -->` and `<!-- end of bench -->` replaced.

    NAME is that of a benchmark, or `circumstances` or `targets`. Raises `SystemExit` for one without figures.
    """

    def part(found: re.Match[str]) -> str:
        return f"<!-- bench: {found[1]} -->\n{_part(found[1], document)}<!-- end of bench -->"

    return _PART.sub(part, page)


def _part(name: str, document: Document) -> str:
    if name == "circumstances":
        return _circumstances(document)
    if name == "targets":
        return _table(("work", "reached", "target", "met"), targets.rows(document.figures()))
    if name not in document.benchmarks:
        return f"Not measured in this run; `scripts/bench {name}` measures it.\n"
    return _table(_HEADER, [_row(figure) for figure in document.benchmarks[name]])


def _row(figure: Figure) -> Sequence[str]:
    return (figure.work, figure.baseline, figure.unit, *cells(figure))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def _circumstances(document: Document) -> str:
    of = document.circumstances
    machine, versions = of["machine"], of["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    peers = "; ".join(", ".join(requirements) for requirements in of["peers"].values())
    changed = "" if of["clean"] else ", with uncommitted changes"
    load, minutes = machine["load"][0], of["seconds"] / 60
    return (
        f"Measured on {of['time'][:10]} at commit {of['commit']}{changed}: {machine['cores']} cores "
        f"({machine['cpu']}), {machine['memory_gb']:g} GB, a load of {load:g} at the end of the "
        f"run, which took {minutes:.0f} minutes. {named}. The peers: {peers}.\n"
    )
