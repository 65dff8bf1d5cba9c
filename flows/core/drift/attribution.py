"""Attribution drift: the ranking of a model's inputs by their contributions to its scores has changed.

The importance of an input is its mean absolute contribution over a sample of a window. The ranking in the
first full window after a model became champion is the reference. Each later one is compared with it by the
normalized discounted cumulative gain, as in the feature attribution drift of Amazon SageMaker Clarify:

    nDCG = DCG / iDCG,  DCG = sum over ranks i of a(f'_i) / log2(i + 1)

`a` is the importance in the reference. DCG takes the inputs in the order of the present window, iDCG in that
of the reference. A value below .9 is drift (Nigenda et al., 2022, "Amazon SageMaker Model Monitor: a system
for real-time insights into deployed machine learning models").
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import fsum, log2
from typing import Any, NamedTuple

from flows.core.drift.levels import NAMED, Cleared, Gate, Level, Position

THRESHOLD = 0.9  # of the nDCG, below which there is drift
SAMPLE = 50  # rows of a window
LEVEL: Level = "warning"
GROWTH = 1.5  # of the leaves, beyond which a tree needs a new reference
LEAVES = 20  # of trees that are visited per window on average, so that the cost per event is bounded
RETRY = 10  # windows after which a champion whose contributions were not known is tried again


class RankMove(NamedTuple):
    """The ranks of an input in the reference and in a window, from 1; equal ones have their mean rank."""

    name: str
    before: float
    after: float


class AttributionAlarm(NamedTuple):
    """The nDCG of a window of `width` rows since `since` (ms), and the inputs whose share moved most."""

    ndcg: float
    moved: tuple[RankMove, ...]
    width: int
    since: int
    position: Position


class AttributionDrift:
    """Watches the importance of the inputs of a champion; `window` is in rows, `cool_down` in milliseconds.

    The contributions are computed by the caller, from the `sample` of a full window. A window ends with the
    batch in which it is full. State: a sample of rows, and two numbers for each input.
    """

    def __init__(self, window: int, cool_down: int) -> None:
        self._window = window
        self._gate = Gate(0, cool_down)
        self._reference: dict[str, float] = {}
        self._leaves = 0  # of the champion in the reference
        self._rows: list[Sequence[Any]] = []
        self._width = 0  # rows in the window
        self._since = 0  # ms
        self._pause = 0  # windows that are left out
        self._is_raised = False  # since the last window without drift

    @property
    def sample(self) -> Sequence[Sequence[Any]]:
        """The evenly spread rows of a full window; empty until it is full."""
        return self._rows if self._width >= self._window else ()

    def add(self, rows: Sequence[Sequence[Any]], times: Sequence[int]) -> None:
        """Add a batch of rows with their event times (ms); `sample` must be compared before the next one."""
        if not rows:
            return
        if self._width == 0:
            self._since = times[0]
        if not self._pause:
            step = -(-self._window // SAMPLE)
            self._rows += rows[-self._width % step :: step]
        self._width += len(rows)
        if self._pause and self._width >= self._window:
            self._pause -= 1
            self._width = 0

    def compare(
        self, inputs: Mapping[str, float], leaves: int, time: int, position: Position
    ) -> AttributionAlarm | Cleared | None:
        """Compare the importance of the inputs in a full window at `time` (ms) with the reference.

        It is empty if it is not known. With the `leaves` of trees their cost grows, so after a window with
        many the next ones are left out. Trees that have grown much have a new reference: more inputs
        contribute to them, without drift.
        """
        since, width = self._since, self._width
        self._start_window()
        self._pause = leaves // LEAVES if inputs else RETRY - 1
        if not any(inputs.values()):  # also a model that has learned nothing
            return None
        if not self._reference or leaves > GROWTH * self._leaves:
            self._reference, self._leaves = dict(inputs), leaves
            return None
        value = ndcg(self._reference, inputs)
        if value >= THRESHOLD:
            was_raised, self._is_raised = self._is_raised, False
            return Cleared(position) if was_raised else None
        if not self._gate.is_open(LEVEL, 0, time):
            return None
        self._gate.close(LEVEL, time)
        self._is_raised = True
        return AttributionAlarm(value, rank_moves(self._reference, inputs), width, since, position)

    def restart(self) -> None:
        """Start a new window and a new reference, since another model became champion."""
        self._reference = {}
        self._pause = 0
        self._is_raised = False
        self._start_window()

    def _start_window(self) -> None:
        self._rows = []
        self._width = 0


def ndcg(gains: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """Return the nDCG of the order by `scores`, with the `gains`, of which one is positive.

    A name that either lacks is 0 in it. Names with equal scores have the mean of their discounts, as in
    scikit-learn, so no order among them is preferred.

    >>> live = {"SAT score": 0.1, "GPA": 0.2, "class rank": 0.7}
    >>> round(ndcg({"SAT score": 0.7, "GPA": 0.5, "class rank": 0.05}, live), 3)
    0.688
    """
    names = list(dict.fromkeys((*gains, *scores)))
    return _dcg(names, gains, scores) / _dcg(names, gains, gains)


def _dcg(names: Sequence[str], gains: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """Return the sum of the gains, each times the discount of its rank."""
    return fsum(
        fsum(gains.get(name, 0.0) for name in group)
        * fsum(1 / log2(rank + 1) for rank in range(first, first + len(group)))
        / len(group)
        for first, group in _ranked(names, scores)
    )


def rank_moves(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[RankMove, ...]:
    """Return the ranks of the inputs with another rank, the largest change of the share first, at most five.

    The share is that of the sum of all. A rank alone moves much among inputs that hardly contribute.
    """
    names = list(dict.fromkeys((*before, *after)))
    shares = [_shares(names, each) for each in (before, after)]
    ranks = [_ranks(names, each) for each in (before, after)]
    by_change = sorted(names, key=lambda name: -abs(shares[1][name] - shares[0][name]))
    moves = [RankMove(name, ranks[0][name], ranks[1][name]) for name in by_change]
    return tuple(move for move in moves if move.before != move.after)[:NAMED]


def _shares(names: Sequence[str], inputs: Mapping[str, float]) -> dict[str, float]:
    total = fsum(inputs.values())
    return {name: inputs.get(name, 0.0) / total for name in names}


def _ranks(names: Sequence[str], inputs: Mapping[str, float]) -> dict[str, float]:
    ranked = _ranked(names, inputs)
    return {name: first + (len(group) - 1) / 2 for first, group in ranked for name in group}


def _ranked(names: Sequence[str], scores: Mapping[str, float]) -> Iterator[tuple[int, list[str]]]:
    """Yield the names with the same score and the first rank of these, the highest score first."""
    rank = 1
    score = lambda name: scores.get(name, 0.0)  # noqa: E731
    for _, group in groupby(sorted(names, key=score, reverse=True), key=score):
        together = list(group)
        yield rank, together
        rank += len(together)
