"""The CPU time of `driftline backtest` on the simulated cards, against the calls of the model alone.

The calls are recorded in a run that is not measured, and repeated on a new model. Start and report are left
out: the figure is the difference between a run over all events and one over a tenth of them.
"""

import os
import pickle
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.pipelines import card_fraud
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.site import BENCH, COMMAND, Site
from scripts.tools.fresh import fresh_folder

FOLDER = BENCH / "cards"
PROJECT = Path(__file__).parents[1] / "projects" / "cards"
START_SHARE = 10  # of the events, which the shorter run has


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figure of `runs` rounds over `events` transactions."""
    Site(_project())
    calls = FOLDER / "calls.pickle"
    _backtest(events, {"BENCH_CALLS": str(calls)})
    recorded = pickle.loads(calls.read_bytes())  # noqa: S301  written by the run above
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(_backtest(events, {}) - _backtest(events // START_SHARE, {}))
        theirs.append(_model_alone(recorded, events // START_SHARE))
    yield Figure("backtest of the cards", "the model alone", "s of CPU time", ours, theirs, False)


def _project() -> Path:
    folder = fresh_folder(FOLDER, "card_fraud")
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    return folder


def _backtest(events: int, environment: Mapping[str, str]) -> float:
    """Run the command, and return the seconds of CPU time that it took."""
    command = [*COMMAND, "backtest", "--events", str(events), "--json", "--report", "page.html"]
    before = _children_seconds()
    subprocess.run(command, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, check=True)
    return _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _model_alone(calls: Sequence[tuple[Mapping[str, Any], bool | None]], skip: int) -> float:
    """Return the seconds of CPU time of the calls, from prediction number `skip` on."""
    estimator, began, predicted = card_fraud.model(), time.process_time(), 0
    for x, y in calls:
        if y is not None:
            estimator.learn_one(x, y)
        else:
            predicted += 1
            if predicted == skip:
                began = time.process_time()
            estimator.predict_proba_one(x)
    return time.process_time() - began
