"""Compares Driftline with its peers on one real Kafka, and the results of two runs."""

import argparse
from pathlib import Path

from rich.console import Console

from scripts.benchmarks.peers import results
from scripts.benchmarks.peers.rates import rates
from scripts.faults.servers import kafka
from scripts.tools.fresh import REPOSITORY

FOLDER = REPOSITORY / ".driftline" / "bench" / "peers"
RESULTS = FOLDER.with_suffix(".json")

console = Console()


def main(options: argparse.Namespace) -> int:
    """Measure all programs in turns and store the results."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with kafka(FOLDER / "kafka") as url:
        figures = list(rates(url.removeprefix("kafka://"), FOLDER, options.events, options.runs))
    console.print(results.table(figures))
    results.save(figures, RESULTS)
    console.print(f"stored in {RESULTS.relative_to(REPOSITORY)}", highlight=False)
    return 0


def compare(old: Path, new: Path) -> int:
    """Print the differences between two stored results."""
    console.print(results.compare(results.load(old), results.load(new)))
    return 0
