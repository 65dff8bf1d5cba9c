"""The contest between champion and challenger: a sequential test on served scores.

Both models score the same events before the labels are known. The difference of their losses is tested by the
mixture sequential probability ratio test, which stays valid under continuous monitoring (Robbins, 1970;
Johari, Pekelis and Walsh, "Always valid inference", 2015).
"""

from math import inf, log, log1p
from typing import Literal

Verdict = Literal["open", "won", "lost"]

_MINIMUM = 10  # blocks before their variance is estimated well enough


class Contest:
    """Compares a challenger with the champion, label by label.

    Errors of neighbouring labels are correlated (a storm delays a whole day), so the means of blocks of
    `block` labels are taken as independent observations (batch means). The challenger wins if its loss is
    lower at the `significance` level. It loses if its loss is higher at that level, or after `patience`
    labels without a decision.
    """

    def __init__(self, significance: float, patience: int, block: int) -> None:
        self._threshold = -log(significance)
        self._patience = patience
        self._block = block
        self.labels = 0
        self._sum = 0.0  # of the gains in the current block
        self._blocks = 0
        self._mean = 0.0  # of the blocks' mean gains
        self._squares = 0.0  # sum of their squared deviations (Welford, 1962)

    def update(self, champion: float, challenger: float) -> Verdict:
        """Add the losses of both models for one event; return the verdict so far."""
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
        """The challenger's reduction of the mean loss."""
        return self._mean

    def _add_block(self, gain: float) -> None:
        self._blocks += 1
        deviation = gain - self._mean
        self._mean += deviation / self._blocks
        self._squares += deviation * (gain - self._mean)

    def _log_likelihood_ratio(self) -> float:
        """Return the log likelihood ratio of a normal mixture of effects to no effect.

        The mixture has the variance of the blocks. That is estimated, so the ratio is that of the densities
        of the t statistic (Lai, 1976).
        """
        n = self._blocks
        variance = self._squares / (n - 1)
        if variance == 0.0:
            return 0.0 if self._mean == 0.0 else inf
        t_squared = n * self._mean**2 / variance
        odds = log1p(t_squared / (n - 1)) - log1p(t_squared / ((n - 1) * (n + 1)))
        return (n * odds - log(n + 1)) / 2
