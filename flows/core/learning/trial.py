"""The evidence of a trial: whether a model in the shadow has a lower loss than the champion by now.

After an alarm nobody knows since when another model is better. So the evidence begins again whenever there is
none: an e-detector in its CUSUM form, whose factors are bets on a lower loss (Shin, Ramdas and Rinaldo,
"E-detectors", 2022). Of models that are equal it reaches 1 / `significance` after at least so many labels on
average.
"""

_BET = 0.5  # the share of the evidence that a label can take


class Lead:
    """The evidence for one model against the champion.

    A difference of the losses counts at most as the mean loss before it, so no label decides alone.
    """

    def __init__(self) -> None:
        self.value = 1.0
        self._labels = 0
        self._total = 0.0  # of the higher losses

    def update(self, champion: float, rival: float) -> None:
        """Add the losses of both models for one event."""
        if self._total > 0:
            gain = (champion - rival) / (self._total / self._labels)
            self.value = max(1.0, self.value) * (1 + _BET * max(-1.0, min(1.0, gain)))
        self._labels += 1
        self._total += max(champion, rival)
