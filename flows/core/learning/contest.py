"""The contest between champion and challenger: a sequential test on served scores.

Both models score the same events before the labels are known. The difference of their losses is tested by the
mixture sequential probability ratio test, which stays valid under continuous monitoring (Robbins, 1970;
Johari, Pekelis and Walsh, "Always valid inference", 2015).
"""

from math import copysign, inf, log, log1p, sqrt
from typing import Literal, NamedTuple

Verdict = Literal["open", "won", "lost"]

MINIMUM_BLOCKS = 10  # blocks before their variance is estimated well enough


class PromotionGate(NamedTuple):
    """A condition of a promotion: it is met if `value` reaches `required`."""

    name: Literal["labels", "gain", "log_likelihood_ratio"]
    value: float
    required: float
    passed: bool


def spent(significance: float, number: int) -> float:
    """Return the significance for contest `number` (from 1) of a champion.

    The shares 1/2, 1/6, 1/12, ... sum to 1, so all contests together keep to `significance` (the union
    bound), however many there are.

    >>> [round(spent(0.06, number), 4) for number in (1, 2, 3)]
    [0.03, 0.01, 0.005]
    """
    return significance / (number * (number + 1))


class BlockMeans:
    """The mean and the scatter of blocks of equal length, updated block by block (Welford, 1962)."""

    def __init__(self) -> None:
        self.blocks = 0
        self.mean = 0.0
        self._squares = 0.0  # sum of the squared deviations from the mean
        self._half: float | None = None  # the first block of a pair that is not complete

    def add(self, gain: float) -> float | None:
        """Add the mean of a block; return that of a pair of blocks when it completes one."""
        self.blocks += 1
        deviation = gain - self.mean
        self.mean += deviation / self.blocks
        self._squares += deviation * (gain - self.mean)
        if self._half is None:
            self._half = gain
            return None
        pair, self._half = (self._half + gain) / 2, None
        return pair

    def t_squared(self) -> float:
        """Return the square of the t statistic of no gain, 0 before two blocks."""
        n = self.blocks
        if n < 2 or self.mean == 0.0:
            return 0.0
        variance = self._squares / (n - 1)
        # a square by `**` raises OverflowError for the loss of a score near 1e150
        return inf if variance == 0.0 else n * (self.mean * self.mean) / variance

    def ratio(self) -> float:
        """Return the log likelihood ratio of a normal mixture of effects to no effect, 0 before two blocks.

        The mixture has the variance of the blocks. That is estimated, so the ratio is that of the densities
        of the t statistic (Lai, 1976).
        """
        n, t_squared = self.blocks, self.t_squared()
        if n < 2 or t_squared == inf:
            return t_squared
        odds = log1p(t_squared / (n - 1)) - log1p(t_squared / ((n - 1) * (n + 1)))
        return (n * odds - log(n + 1)) / 2


class Contest:
    """Compares a challenger with the champion, label by label.

    Errors of neighbouring labels are correlated (a storm delays a whole day), so the means of blocks of
    `block` labels are taken as independent observations (batch means). The challenger wins if its loss is
    lower at the `significance` level, by at least `minimum_effect`, and after at least `minimum_labels`. It
    loses if its loss is higher at that level, or after `patience` labels without a decision.
    """

    def __init__(
        self,
        significance: float,
        patience: int,
        block: int,
        minimum_labels: int = 0,
        minimum_effect: float = 0.0,
    ) -> None:
        self._threshold = -log(significance)
        self._patience = patience
        self._block = block
        self._minimum_labels = minimum_labels
        self._minimum_effect = minimum_effect
        self.labels = 0
        self._sum = 0.0  # of the gains in the current block
        self._scales = [BlockMeans()]  # of blocks of 1, 2, 4, 8, ... times the length

    def update(self, champion: float, challenger: float) -> Verdict:
        """Add the losses of both models for one event; return the verdict so far."""
        self.labels += 1
        self._sum += champion - challenger
        if self.labels % self._block == 0:
            self._add_block(self._sum / self._block)
            self._sum = 0.0
            if all(gate.passed for gate in self.gates()):
                return "won"
            if self.is_worse:
                return "lost"
        return "lost" if self.labels >= self._patience else "open"

    def gates(self) -> list[PromotionGate]:
        """Return the conditions of a promotion as they are now; the last block may be incomplete."""
        labels, gain, ratio = (
            max(self._minimum_labels, MINIMUM_BLOCKS * self._block),
            self.gain,
            self._ratio(),
        )
        enough = gain > 0 and gain >= self._minimum_effect
        return [
            PromotionGate("labels", self.labels, labels, self.labels >= labels),
            PromotionGate("gain", gain, self._minimum_effect, enough),
            PromotionGate("log_likelihood_ratio", ratio, self._threshold, ratio > self._threshold),
        ]

    def figures(self) -> dict[str, float]:
        """Return the figures of the contest by name."""
        return {gate.name: gate.value for gate in self.gates()} | {"threshold": self._threshold}

    @property
    def gain(self) -> float:
        """The challenger's reduction of the mean loss."""
        return self._scales[0].mean

    @property
    def evidence(self) -> float:
        """The gain in units of its standard error: the t statistic of the blocks, 0 before the second."""
        return copysign(sqrt(self._scales[0].t_squared()), self.gain)

    @property
    def is_worse(self) -> bool:
        """Whether the challenger's loss is higher at the significance level."""
        return self.gain < 0 and self._scales[0].blocks >= MINIMUM_BLOCKS and self._ratio() > self._threshold

    def _add_block(self, gain: float) -> None:
        """Add the mean gain of a block, and those of the longer blocks that it completes."""
        for scale in self._scales:
            pair = scale.add(gain)
            if pair is None:
                return
            gain = pair
        self._scales.append(BlockMeans())
        self._scales[-1].add(gain)

    def _tested(self) -> list[BlockMeans]:
        """Return the blocks to test: the shortest ones, and each longer length with enough of them."""
        return [self._scales[0], *(each for each in self._scales[1:] if each.blocks >= MINIMUM_BLOCKS)]

    def _ratio(self) -> float:
        """Return the log likelihood ratio at the length of blocks where it is smallest."""
        return min(scale.ratio() for scale in self._tested())
