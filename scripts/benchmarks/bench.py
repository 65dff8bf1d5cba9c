"""Benchmarks. A figure is a ratio to a baseline that is measured in turns with it, where there is one.

smoke      predict and learn on the embedded log, against bare loops of River; within a minute
peers      predict and learn against a bare loop, Quix Streams, stock Bytewax and Faust on one Kafka
latency    latency and CPU time at 1,000 events/s beside the peers, also under load
serve      latency and CPU time of a request to `driftline serve` beside FastAPI and MLServer
at-rest    CPU time and memory of the five flows without events
startup    time from the start to the first prediction
windows    the predict flow with 12 windows on 2 entities against a loop by hand
forest     predict and learn with an adaptive random forest
scale      two processes of the predict flow against one
flights    all flows against an older commit (BENCH_AGAINST), each with its own scripts/demo
cards      driftline backtest against the calls of the model alone
growth     tenfold entities, records of one entity, pending labels and length of a run
features   the feature engine alone against a loop by hand, and the online stores against Feast's push
labels     pending predictions against plain objects
all        all of these, each in its own process, and the table of targets

drift, outliers, generated   print tables of their own
retraining        five ways to keep a model up to date, on streams whose concept changes; a table, and a file
contest-blocks    wrong promotions where the errors of a model stay alike for a while; a table
wrong-promotions  promotions on streams that do not change; exits with 1 if they are too many

compare OLD NEW   prints what moved between two stored results
page RESULTS      makes docs/performance.json, and the tables of docs/performance.md, from stored results
retraining-page RESULTS   makes docs/retraining.json and the tables of docs/retraining.md
search [FILE]     what the search of flight_delays serves, or with their file that of card_fraud

The results are stored in .driftline/bench/NAME.json.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from scripts.benchmarks.harness import page, report, targets
from scripts.benchmarks.harness.figures import Figure, load, save
from scripts.benchmarks.harness.machine import circumstances
from scripts.benchmarks.harness.site import BENCH
from scripts.benchmarks.parts import drift, features, generated, labels, outliers
from scripts.benchmarks.retraining import blocks, examples, wrong_promotions
from scripts.benchmarks.retraining import table as retraining
from scripts.benchmarks.suites import (
    at_rest,
    cards,
    flights,
    forest,
    growth,
    latency,
    peers,
    scale,
    serve,
    smoke,
    startup,
    windows,
)

console = Console(width=max(Console().width, 140))


class Suite(NamedTuple):
    """A benchmark, with its default numbers of events and rounds."""

    measure: Callable[[int, int], Iterable[Figure]]
    events: int
    runs: int


SUITES: Mapping[str, Suite] = {
    "smoke": Suite(smoke.measure, 60_000, 1),
    "peers": Suite(peers.measure, 100_000, 2),
    "latency": Suite(latency.measure, 20_000, 1),
    "serve": Suite(serve.measure, 3_000, 3),
    "at-rest": Suite(at_rest.measure, 1_000, 1),
    "startup": Suite(startup.measure, 10, 1),
    "windows": Suite(windows.measure, 80_000, 2),
    "forest": Suite(forest.measure, 6_000, 1),
    "scale": Suite(scale.measure, 120_000, 1),
    "flights": Suite(flights.measure, 9_000, 1),
    "cards": Suite(cards.measure, 10_000, 1),
    "features": Suite(features.measure, 25_000, 1),
    "labels": Suite(labels.measure, 100_000, 1),
    "growth": Suite(growth.measure, 250_000, 1),
}
TABLES: Mapping[str, Callable[[], int]] = {
    "drift": drift.main,
    "generated": generated.main,
    "outliers": outliers.main,
    "contest-blocks": blocks.main,
    "retraining": retraining.main,
    "wrong-promotions": wrong_promotions.main,
}


def main() -> int:
    """Run the chosen benchmark or command, and return the exit code."""
    options = _options()
    if options.benchmark in COMMANDS:
        COMMANDS[options.benchmark](*options.files)
    elif options.benchmark in TABLES:
        return TABLES[options.benchmark]()
    elif options.benchmark == "all":
        run_all()
    else:
        run(options.benchmark, options)
    return 0


def run(name: str, options: argparse.Namespace) -> None:
    """Run one benchmark, print its figures and store them."""
    suite, began = SUITES[name], time.monotonic()
    figures = list(suite.measure(options.events or suite.events, options.runs or suite.runs))
    save(circumstances(time.monotonic() - began), {name: figures}, _file(name))
    console.print(report.table(name, figures))
    console.print(f"stored in {_file(name)}", highlight=False)


def run_all() -> None:
    """Run each benchmark in a process of its own, store all figures in one file, and print the targets."""
    began = time.monotonic()
    for name in SUITES:
        subprocess.run([sys.executable, "-m", "scripts.benchmarks.bench", name], check=True)
    benchmarks = {name: load(_file(name)).benchmarks[name] for name in SUITES}
    document = save(circumstances(time.monotonic() - began), benchmarks, _file("all"))
    console.print(targets.table(document.figures()))
    console.print(f"stored in {_file('all')}", highlight=False)


def compare(old: Path, new: Path) -> None:
    """Print what moved between two stored results, and a line for each figure that became worse."""
    before, after = load(old), load(new)
    console.print(report.compare(before, after))
    for line in report.falls(before, after):
        console.print(line, highlight=False)


def write_page(results: Path) -> None:
    """Store the results as those of the documentation, and generate its tables from them."""
    generated_page = page.generate(page.PAGE.read_text(), load(results))
    page.RESULTS.write_bytes(results.read_bytes())
    page.PAGE.write_text(generated_page)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "compare": compare,
    "page": write_page,
    "retraining-page": retraining.write_page,
    "search": examples.main,
}


def _file(name: str) -> Path:
    return BENCH / f"{name}.json"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=[*SUITES, "all", *TABLES, *COMMANDS])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="stored results")
    parser.add_argument("--events", type=int, metavar="N", help="events of a benchmark")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds of a benchmark")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
