"""`scripts/bench retraining`: five ways to keep a model up to date, on streams whose concept changes."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scripts.benchmarks.harness.machine import circumstances
from scripts.benchmarks.harness.site import BENCH
from scripts.benchmarks.retraining.streams import TASKS, Change, stream
from scripts.benchmarks.retraining.ways import WAYS, Result, run
from scripts.tools.fresh import REPOSITORY

SEEDS = 20
CHANGES: Sequence[Change] = ("abrupt", "gradual", "recurring", "noise")
PAGE = REPOSITORY / "docs" / "retraining.md"
RESULTS = REPOSITORY / "docs" / "retraining.json"
STORED = BENCH / "retraining.json"

_PART = re.compile(r"<!-- retraining: (\w+) -->\n.*?<!-- end of retraining -->", re.DOTALL)

console = Console(width=max(Console().width, 160))


class Cell(NamedTuple):
    """The results of one way on all streams of a task with a change; each list has an item per seed."""

    change: str
    task: str
    way: str
    results: list[Result]


def main() -> int:
    """Run all ways on all streams, print the tables and store the results."""
    began = time.monotonic()
    places = list(product(CHANGES, range(len(TASKS)), range(SEEDS)))
    found: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [pool.submit(run_all, *place) for place in places]
        done = [job.result() for job in track(jobs, "retraining", console=console, transient=True)]
    for (change, task, _), by_way in zip(places, done, strict=True):
        for way, result in by_way.items():
            found[change, TASKS[task].name, way].append(result)
    cells = [Cell(*key, results) for key, results in found.items()]
    store(circumstances(time.monotonic() - began), cells)
    for name in MEASURES:
        console.print(_table(name, cells))
    console.print(f"stored in {STORED}", highlight=False)
    return 0


def store(circumstances: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """Store the results as one JSON document."""
    document = {"circumstances": circumstances, "cells": [_stored(each) for each in cells]}
    STORED.parent.mkdir(parents=True, exist_ok=True)
    STORED.write_bytes(orjson.dumps(document))


def run_all(change: Change, task: int, seed: int) -> Mapping[str, Result]:
    """Run all ways on one stream; return the results by way."""
    made = stream(TASKS[task], change, seed)
    return {name: run(TASKS[task], made, way) for name, way in WAYS.items()}


def write_page(results: Path) -> None:
    """Store the results as those of the documentation, and generate its tables from them."""
    page = generate(PAGE.read_text(), orjson.loads(results.read_bytes()))
    RESULTS.write_bytes(results.read_bytes())
    PAGE.write_text(page)


def generate(page: str, document: Mapping[str, Any]) -> str:
    """Return the page with each part between `<!-- retraining: NAME -->` and its end replaced."""
    cells = [
        Cell(each["change"], each["task"], each["way"], list(_results(each))) for each in document["cells"]
    ]

    def part(found: re.Match[str]) -> str:
        lines = _rows(found[1], cells)
        lines.insert(1, ["---"] * len(lines[0]))
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"<!-- retraining: {found[1]} -->\n{text}<!-- end of retraining -->"

    return _PART.sub(part, page)


class Measure(NamedTuple):
    """A measure of a result as a number, None where there is none, and its spelling."""

    of: Callable[[Result], float | None]
    spelled: str


MEASURES: Mapping[str, Measure] = {
    "back": Measure(lambda result: result.back, "{:.0f}"),
    "loss": Measure(lambda result: result.loss, "{:.3f}"),
    "seconds": Measure(lambda result: result.seconds, "{:.2f}"),
    "promoted": Measure(lambda result: result.promoted, "{:.0f}"),
}


def _stored(cell: Cell) -> dict[str, Any]:
    by_name = {name: [getattr(each, name) for each in cell.results] for name in Result._fields}
    rounded = {
        name: [round(value, 5) if isinstance(value, float) else value for value in values]
        for name, values in by_name.items()
    }
    return {"change": cell.change, "task": cell.task, "way": cell.way, **rounded}


def _results(stored: Mapping[str, Any]) -> Iterator[Result]:
    for values in zip(*(stored[name] for name in Result._fields), strict=True):
        yield Result(*values)


def _table(name: str, cells: Sequence[Cell]) -> Table:
    head, *rows = _rows(name, cells)
    table = Table(*head, title=name)
    for row in rows:
        table.add_row(*row)
    return table


def _rows(name: str, cells: Sequence[Cell]) -> list[list[str]]:
    """Return the head of a table, and a row for each task with a change."""
    measure, found = MEASURES[name], [["change", "stream and model", "seeds", *WAYS]]
    for change, task in dict.fromkeys((cell.change, cell.task) for cell in cells):
        own = [cell for cell in cells if (cell.change, cell.task) == (change, task)]
        seeds = str(len(own[0].results))
        found.append([change, task, seeds, *(_spread_of(cell, measure) for cell in own)])
    return found


def _spread_of(cell: Cell, measure: Measure) -> str:
    return spread([measure.of(each) for each in cell.results], measure.spelled)


def spread(values: Sequence[float | None], spelled: str) -> str:
    """Return the median and the quartiles; None is above all numbers.

    >>> spread([1, 2, 3, 4, None], "{:.0f}"), spread([None, None, 3], "{:.0f}")
    ('3 (2 to 4)', 'never (3 to never)')
    """
    ranked = sorted(values, key=lambda value: (value is None, value))
    places = [round(share * (len(ranked) - 1)) for share in (0.25, 0.5, 0.75)]
    low, middle, high = ("never" if ranked[at] is None else spelled.format(ranked[at]) for at in places)
    return middle if low == high else f"{middle} ({low} to {high})"
