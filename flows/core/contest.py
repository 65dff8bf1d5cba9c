"""The contest between champion and challenger: a sequential test on scores that were served.

Both score the same events before the label is known. The difference of their losses is tested with the
mixture sequential probability ratio test, which stays valid however often one looks (Robbins, 1970;
Johari, Pekelis and Walsh, "Always valid inference", 2015).
"""

from math import exp, log, sqrt
from typing import Literal

Verdict = Literal["open", "won", "lost"]

_CLIP = 1e-6
_MIXTURE = 0.01  # variance of the effect sizes looked for; about the square of a log loss gap of 0.1
_MINIMUM = 200  # labels before the variance is worth trusting


def log_loss(score: float, truth: bool) -> float:
    """The negative log likelihood of the truth, with scores kept `1e-6` away from 0 and 1.

    >>> round(log_loss(0.8, True), 4)
    0.2231
    """
    likelihood = score if truth else 1.0 - score
    return -log(min(max(likelihood, _CLIP), 1.0))


class Contest:
    """Compares a challenger with the champion, label by label.

    Won when the challenger's loss is lower at the `significance` level, lost when it is higher at the same
    level or when `patience` labels decided nothing.
    """

    def __init__(self, significance: float, patience: int) -> None:
        self._threshold = 1.0 / significance
        self._patience = patience
        self.labels = 0
        self._mean = 0.0
        self._squares = 0.0  # sum of squared deviations (Welford, 1962)

    def update(self, champion: float, challenger: float, truth: bool) -> Verdict:
        """Take in both scores of one event and its truth."""
        gain = log_loss(champion, truth) - log_loss(challenger, truth)
        self.labels += 1
        deviation = gain - self._mean
        self._mean += deviation / self.labels
        self._squares += deviation * (gain - self._mean)
        if self.labels < _MINIMUM:
            return "open"
        if self._likelihood_ratio() > self._threshold:
            return "won" if self._mean > 0 else "lost"
        return "lost" if self.labels >= self._patience else "open"

    @property
    def gain(self) -> float:
        """How much lower the challenger's mean log loss is."""
        return self._mean

    def _likelihood_ratio(self) -> float:
        n = self.labels
        variance = self._squares / (n - 1)
        if variance == 0.0:
            return 1.0
        spread = variance + n * _MIXTURE
        exponent = _MIXTURE * (n * self._mean) ** 2 / (2 * variance * spread)
        return sqrt(variance / spread) * exp(min(exponent, 700.0))
