"""False alarms per 10,000 rows and detection delays of the drift detectors on synthetic streams.

Concept drift: 30 streams of errors whose rate rises from 0.2 to 0.4 or 0.3 halfway. Each detector runs in
Driftline (warm-up of 1,000 labels, rises only) and, for its false alarms, directly in River.

Feature drift: 30 stationary streams of each kind, one row a minute. After the reference and 10,000 rows the
first column rises by one standard deviation. The baseline is River's ADWIN on the values.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from copy import deepcopy
from random import Random
from statistics import median
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from river.drift import ADWIN
from scipy.signal import lfilter

from flows.core.drift.concept import ConceptAlarm, ConceptDrift, make_detector
from flows.core.drift.features import FeatureAlarm, FeatureDrift, FeaturePolicy
from flows.core.drift.levels import Detector, Position

SEEDS = 30
LENGTH = 10_000
CHANGE = 5_000
RATES = (0.4, 0.3)
WARM_UP = 1000
MINUTE, DAY = 60_000, 86_400_000  # ms
REFERENCE = FeaturePolicy().reference
AFTER = 5_000  # rows after the rise
RISE = REFERENCE + LENGTH + FeaturePolicy().window // 2  # within a window
ROWS = RISE + AFTER

Values = NDArray[np.float64]

console = Console()


def main() -> int:
    """Measure both kinds of drift and print the tables."""
    with ProcessPoolExecutor() as pool:
        console.print(concept_table(pool), feature_table(pool))
    return 0


class Run(NamedTuple):
    """The result of one detector on one stream; a delay (labels) is None if no alarm was raised."""

    false_river: int
    false: int
    delays: tuple[int | None, ...]


def concept_table(pool: Executor) -> Table:
    """Return a table with a row for each concept detector."""
    heads = [f"median delay .2 -> {rate:.1f}".replace("0.", ".") for rate in RATES]
    table = Table(
        "detector", "false alarms, River's own", "false alarms", *heads, title=f"{SEEDS} error streams"
    )
    detectors = get_args(Detector)
    jobs = [pool.submit(concept_run, name, seed) for name in detectors for seed in range(SEEDS)]
    runs = [job.result() for job in track(jobs, "concept drift", console=console, transient=True)]
    for index, name in enumerate(detectors):
        own = runs[index * SEEDS : (index + 1) * SEEDS]
        delays = [_delay([run.delays[at] for run in own]) for at in range(len(RATES))]
        table.add_row(name, _rate(run.false_river for run in own), _rate(run.false for run in own), *delays)
    return table


def concept_run(name: Detector, seed: int) -> Run:
    """Run one detector on one stream: count alarms before the change and measure the delay of each rate."""
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
    found = detector.update(float(wrong), wrong, index, Position("labels", 0, index))
    return isinstance(found, ConceptAlarm) and found.level == "alarm"


def _rate(counts: Iterator[int]) -> str:
    """Return the rate per 10,000 labels."""
    return f"{sum(counts) / (SEEDS * CHANGE) * 10_000:.2f}"


def _delay(delays: Sequence[int | None]) -> str:
    found = [delay for delay in delays if delay is not None]
    missed = len(delays) - len(found)
    said = f"{median(found):.0f}" if found else "none"
    return f"{said} ({missed} missed)" if missed else said


def independent(rng: np.random.Generator) -> Values:
    """Return one column of independent normal values."""
    return rng.normal(size=(ROWS, 1))


def autoregressive(rng: np.random.Generator, columns: int = 1) -> Values:
    """Return columns of AR(1) with a coefficient of 0.9 and a variance of 1."""
    noise = rng.normal(size=(ROWS + 200, columns)) * np.sqrt(1 - 0.9**2)
    values: Values = lfilter([1.0], [1.0, -0.9], noise, axis=0)
    return values[200:]


def twenty(rng: np.random.Generator) -> Values:
    """Return twenty independent columns of AR(1)."""
    return autoregressive(rng, 20)


def seasonal(rng: np.random.Generator) -> Values:
    """Return AR(1) plus a daily sine wave with an amplitude of 1.5."""
    wave = 1.5 * np.sin(2 * np.pi * np.arange(ROWS) * MINUTE / DAY)
    return autoregressive(rng) + wave[:, None]


STREAMS: Sequence[tuple[str, Callable[[np.random.Generator], Values], int | None]] = (
    ("independent", independent, None),
    ("AR(1) .9", autoregressive, None),
    ("AR(1) .9, 20 columns", twenty, None),
    ("season of a day + AR(1) .9, period declared", seasonal, DAY),
    ("season of a day + AR(1) .9, not declared", seasonal, None),
)


def feature_table(pool: Executor) -> Table:
    """Return a table with a row for each kind of stream."""
    table = Table(
        "stream",
        "false alarms, ADWIN on the values",
        "false alarms",
        "median delay of a rise (rows)",
        title=f"{SEEDS} streams of features, windows of {FeaturePolicy().window} rows",
    )
    jobs = [pool.submit(feature_run, index, seed) for index in range(len(STREAMS)) for seed in range(SEEDS)]
    runs = [job.result() for job in track(jobs, "feature drift", console=console, transient=True)]
    for index, (name, _, _) in enumerate(STREAMS):
        own = runs[index * SEEDS : (index + 1) * SEEDS]
        adwin, false = (sum(run[at] or 0 for run in own) / SEEDS for at in (0, 1))
        table.add_row(name, f"{adwin:.2f}", f"{false:.2f}", _delay([run[2] for run in own]))
    return table


def feature_run(stream: int, seed: int) -> tuple[int, int, int | None]:
    """Return the detections of ADWIN, the false alarms, and the delay (rows) of the rise on one stream."""
    _, make, period = STREAMS[stream]
    values = make(np.random.default_rng(seed))
    adwin = sum(_detections(column[: REFERENCE + LENGTH]) for column in values.T)
    values[RISE:, 0] += values[:RISE, 0].std()
    columns = {f"x{index}": "number" for index in range(values.shape[1])}
    detector = FeatureDrift(columns, FeaturePolicy(period=period))
    times = [index * MINUTE for index in range(ROWS)]
    places = [Position("predictions", 0, index) for index in range(ROWS)]
    found = detector.update(values.tolist(), times, places)
    alarms = [a for a in found if isinstance(a, FeatureAlarm) and a.level == "alarm"]
    noticed = [a.position.offset + 1 - RISE for a in alarms if a.position.offset >= RISE]
    return adwin, len(alarms) - len(noticed), noticed[0] if noticed else None


def _detections(values: Values) -> int:
    adwin, found = ADWIN(), 0
    for index, value in enumerate(values.tolist()):
        adwin.update(value)
        found += adwin.drift_detected and index >= REFERENCE
    return found
