"""Benchmarks. Each figure is a ratio to a baseline that is measured in turns with it, where there is one.

smoke     predict and learn on the embedded log, against bare loops of River; within a minute
peers     predict and learn against a bare loop, Quix Streams, stock Bytewax and Faust on one Kafka
all       all of the above and below, and the table of targets; stored as all.json

labels, features  parts of the engine alone: pending predictions; windows, entities and the online stores
drift, outliers, generated  print tables of their own

compare OLD NEW   prints what moved between two stored results
page RESULTS      makes docs/performance.json and the tables of docs/performance.md from stored results

The results are stored in .driftline/bench as JSON.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from scripts.benchmarks.harness import report
from scripts.benchmarks.harness.figures import Figure, load, save
from scripts.benchmarks.harness.ten_numbers import BENCH
from scripts.benchmarks.parts import drift, generated, outliers
from scripts.benchmarks.suites import latency, peers, smoke

console = Console()


class Suite(NamedTuple):
    """A benchmark, with its default numbers of events and rounds."""

    measure: Callable[[int, int], Iterable[Figure]]
    events: int
    runs: int


SUITES: Mapping[str, Suite] = {
    "smoke": Suite(smoke.measure, 60_000, 1),
    "peers": Suite(peers.measure, 200_000, 3),
    "latency": Suite(latency.measure, 20_000, 2),
}
TABLES: Mapping[str, Callable[[], int]] = {
    "drift": drift.main,
    "generated": generated.main,
    "outliers": outliers.main,
}


def main() -> int:
    """Run the chosen benchmark or command, and return the exit code."""
    options = _options()
    if options.benchmark in TABLES:
        return TABLES[options.benchmark]()
    if options.benchmark == "compare":
        old, new = map(load, options.files)
        console.print(report.compare(old, new))
        return 0
    run(options.benchmark, options)
    return 0


def run(name: str, options: argparse.Namespace) -> None:
    """Run one benchmark, print its figures and store them."""
    suite, began = SUITES[name], time.monotonic()
    figures = list(suite.measure(options.events or suite.events, options.runs or suite.runs))
    file = BENCH / f"{name}.json"
    save({name: figures}, file, time.monotonic() - began)
    console.print(report.table(name, figures))
    console.print(f"stored in {file}", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=[*SUITES, *TABLES, "compare"])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="stored results")
    parser.add_argument("--events", type=int, metavar="N", help="events of a benchmark")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of a benchmark")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
