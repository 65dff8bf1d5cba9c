"""Driftline beside its peers on one real Kafka; and what moved between two runs."""

import argparse
from pathlib import Path
from statistics import median

from chaos_servers import kafka
from fresh import REPOSITORY
from peers import results
from peers.live import at_rest, latencies, start
from peers.rates import rates
from rich.console import Console
from rich.table import Table

FOLDER = REPOSITORY / ".driftline" / "bench" / "peers"

console = Console()


def main(options: argparse.Namespace) -> int:
    """Run one of the benchmarks that need a Kafka, and store its figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with kafka(FOLDER / "kafka") as url:
        broker = url.removeprefix("kafka://")
        {"peers": _peers, "latency": _latency, "idle": _idle, "startup": _startup}[options.benchmark](
            broker, options
        )
    return 0


def compare(old: Path, new: Path) -> int:
    """Show what moved between two stored runs."""
    console.print(results.compare(results.load(old), results.load(new)))
    return 0


def _peers(broker: str, options: argparse.Namespace) -> None:
    _report("peers", list(rates(broker, FOLDER, options.events, options.runs)))


def _latency(broker: str, options: argparse.Namespace) -> None:
    _report("latency", list(latencies(broker, FOLDER, rate=1000, seconds=30, runs=options.runs)))


def _idle(broker: str, _: argparse.Namespace) -> None:
    table = Table("flow", "share of a core", "memory, MB")
    figures = at_rest(broker, FOLDER)
    for flow, found in figures.items():
        table.add_row(flow, f"{found['cpu']:.1%}", f"{found['memory']:.0f}")
    totals = [sum(found[name] for found in figures.values()) for name in ("cpu", "memory")]
    table.add_row("all", f"{totals[0]:.1%}", f"{totals[1]:.0f}")
    console.print(table)


def _startup(broker: str, options: argparse.Namespace) -> None:
    took = start(broker, FOLDER, options.runs)
    console.print(f"start to first prediction: {median(took):.2f} s ({min(took):.2f} to {max(took):.2f})")


def _report(name: str, figures: list[results.Figure]) -> None:
    console.print(results.table(figures))
    file = FOLDER.parent / f"{name}.json"
    results.save(figures, file)
    console.print(f"stored in {file.relative_to(REPOSITORY)}", highlight=False)
