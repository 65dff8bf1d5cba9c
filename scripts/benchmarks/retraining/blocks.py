"""`scripts/bench contest-blocks`: wrong promotions where the errors of a model stay alike for a while.

Two equal models are compared over 20,000 labels at a significance of 0.005. For a stretch of labels the log
odds of both lack the same number ("shared"), or each model has an error of its own ("own").
"""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from flows.core.learning.contest import Contest

RUNS = 200
LABELS = 20_000
SIGNIFICANCE = 0.005
STRETCHES = (1, 20, 50, 100, 200, 500, 1_000)
BLOCKS = (25, 50, 100, 500)

Unknown = Literal["shared", "own"]
Values = NDArray[np.float64]

console = Console()


def is_promoted(seed: int, unknown: Unknown, stretch: int, block: int, labels: int = LABELS) -> bool:
    """Return whether the challenger wins, which is wrong."""
    rng = np.random.default_rng(seed)
    shared = _alike(rng, labels, stretch, 1.0)
    errors = [
        _alike(rng, labels, stretch, 0.5) if unknown == "own" else rng.normal(0, 0.5, labels)
        for _ in range(2)
    ]
    odds = rng.normal(-1, 1, labels)
    truths = rng.random(labels) < _logistic(odds + shared)
    champion, challenger = (_losses(_logistic(odds + error), truths) for error in errors)
    contest = Contest(SIGNIFICANCE, labels, block)
    for losses in zip(champion, challenger, strict=True):
        verdict = contest.update(*losses)
        if verdict != "open":
            return verdict == "won"
    return False


def _alike(rng: np.random.Generator, labels: int, length: int, deviation: float) -> Values:
    """Return normal values of which `length` in a row are equal."""
    found: Values = rng.normal(0, deviation, labels // length + 1).repeat(length)[:labels]
    return found


def _logistic(odds: Values) -> Values:
    found: Values = 1 / (1 + np.exp(-odds))
    return found


def _losses(scores: Values, truths: NDArray[np.bool_]) -> list[float]:
    losses: list[float] = (-np.log(np.where(truths, scores, 1 - scores))).tolist()
    return losses


def main() -> int:
    """Print in how many runs the challenger was promoted."""
    table = Table("unknown", "labels in a stretch", *(f"block {block}" for block in BLOCKS))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for unknown, stretch in product(("shared", "own"), STRETCHES):
            row = []
            for block in BLOCKS:
                one = partial(is_promoted, unknown=unknown, stretch=stretch, block=block)
                row.append(str(sum(pool.map(one, range(RUNS)))))
            table.add_row(unknown, str(stretch), *row)
    console.print(table)
    return 0
