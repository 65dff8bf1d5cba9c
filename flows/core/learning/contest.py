"""The contest between champion and challenger: a sequential test on scores that were served.

Both score the same events before the label is known. The difference of their losses is tested with the
mixture sequential probability ratio test, which stays valid however often one looks (Robbins, 1970;
Johari, Pekelis and Walsh, "Always valid inference", 2015).
"""

from math import inf, log, log1p
from typing import Literal

Verdict = Literal["open", "won", "lost"]

_MINIMUM = 10  # blocks before their scatter is worth trusting


class Contest:
    """Compares a challenger with the champion, label by label.

    Neighbouring labels err alike (a storm delays a whole day), so not they but the means of blocks of `block`
    labels are taken as independent observations (batch means). Won when the challenger's loss is lower at the
    `significance` level, lost when it is higher at the same level or when `patience` labels decided nothing.
    """

    def __init__(self, significance: float, patience: int, block: int) -> None:
        self._threshold = -log(significance)
        self._patience = patience
        self._block = block
        self.labels = 0
        self._sum = 0.0  # of the gains in the block under way
        self._blocks = 0
        self._mean = 0.0  # of the blocks' mean gains
        self._squares = 0.0  # sum of their squared deviations (Welford, 1962)

    def update(self, champion: float, challenger: float) -> Verdict:
        """Take in the losses of both scores of one event."""
        self.labels += 1
        self._sum += champion - challenger
        if self.labels % self._block == 0:
            self._add_block(self._sum / self._block)
            self._sum = 0.0
            if self._blocks >= _MINIMUM and self._log_likelihood_ratio() > self._threshold:
                return "won" if self._mean > 0 else "lost"
        return "lost" if self.labels >= self._patience else "open"

    @property
    def gain(self) -> float:
        """How much lower the challenger's mean loss is."""
        return self._mean

    def _add_block(self, gain: float) -> None:
        self._blocks += 1
        deviation = gain - self._mean
        self._mean += deviation / self._blocks
        self._squares += deviation * (gain - self._mean)

    def _log_likelihood_ratio(self) -> float:
        """Of a normal mixture of effects, as wide as the blocks scatter, to no effect.

        The scatter is estimated, so it is the ratio of the t statistic's densities (Lai, 1976).
        """
        n = self._blocks
        variance = self._squares / (n - 1)
        if variance == 0.0:
            return 0.0 if self._mean == 0.0 else inf
        t_squared = n * self._mean**2 / variance
        odds = log1p(t_squared / (n - 1)) - log1p(t_squared / ((n - 1) * (n + 1)))
        return (n * odds - log(n + 1)) / 2
