"""The drift detectors on made-up streams: false alarms per 10,000, and how soon they notice a change.

Errors: bits with a rate of .2 that becomes .4 or .3 after half of the stream. A detector is fed 30 such
streams, through Driftline (warm-up of 1,000 labels, rises only) and, for its false alarms, as River has it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from random import Random
from statistics import median
from typing import NamedTuple, get_args

from rich.console import Console
from rich.progress import track
from rich.table import Table

from flows.core.concept_drift import ConceptDrift, make_detector
from flows.core.drift import Detector, Position

SEEDS = 30
LENGTH = 10_000
CHANGE = 5_000
RATES = (0.4, 0.3)
WARM_UP = 1000

console = Console()


def main() -> int:
    """Measure and print."""
    console.print(concept_table())
    return 0


class Run(NamedTuple):
    """What one detector did on one stream; a delay (labels) is None where no alarm came to the end."""

    false_river: int
    false: int
    delays: tuple[int | None, ...]


def concept_table() -> Table:
    """One row for each concept detector."""
    heads = [f"median delay .2 -> {rate:.1f}".replace("0.", ".") for rate in RATES]
    table = Table(
        "detector", "false alarms, River's own", "false alarms", *heads, title=f"{SEEDS} error streams"
    )
    detectors = get_args(Detector)
    with ProcessPoolExecutor() as pool:
        jobs = [pool.submit(concept_run, name, seed) for name in detectors for seed in range(SEEDS)]
        runs = [job.result() for job in track(jobs, "concept drift", console=console, transient=True)]
    for index, name in enumerate(detectors):
        own = runs[index * SEEDS : (index + 1) * SEEDS]
        delays = [_delay([run.delays[at] for run in own]) for at in range(len(RATES))]
        table.add_row(name, _rate(run.false_river for run in own), _rate(run.false for run in own), *delays)
    return table


def concept_run(name: Detector, seed: int) -> Run:
    """One detector on one stream: what it raises before the change, and when it notices each change."""
    rng = Random(seed)  # noqa: S311
    river = make_detector(name, {})
    detector = ConceptDrift(name, {}, WARM_UP, cool_down=0)
    false_river = false = 0
    for index in range(CHANGE):
        wrong = rng.random() < 0.2
        river.update(float(wrong))
        false_river += river.drift_detected
        false += _alarms(detector, wrong, index)
    return Run(false_river, false, tuple(_notice(deepcopy((detector, rng)), rate) for rate in RATES))


def _notice(state: tuple[ConceptDrift, Random], rate: float) -> int | None:
    detector, rng = state
    for index in range(CHANGE, LENGTH):
        if _alarms(detector, rng.random() < rate, index):
            return index - CHANGE + 1
    return None


def _alarms(detector: ConceptDrift, wrong: bool, index: int) -> bool:
    alarm = detector.update(float(wrong), wrong, index, Position("labels", 0, index))
    return alarm is not None and alarm.level == "alarm"


def _rate(counts: Iterator[int]) -> str:
    """Per 10,000 labels."""
    return f"{sum(counts) / (SEEDS * CHANGE) * 10_000:.2f}"


def _delay(delays: Sequence[int | None]) -> str:
    found = [delay for delay in delays if delay is not None]
    missed = len(delays) - len(found)
    said = f"{median(found):.0f}" if found else "none"
    return f"{said} ({missed} missed)" if missed else said
