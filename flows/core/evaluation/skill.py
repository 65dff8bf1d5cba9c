"""Skill scores: the fraction of a baseline's loss that a model avoids.

The literature has several names for this formula, depending on loss and baseline:

- error rate against the last label: kappa-temporal (Bifet, Read, Žliobaitė, Pfahringer and Holmes, "Pitfalls
  in benchmarking data stream classification and how to avoid them", 2013; Žliobaitė et al., "Evaluation
  methods and decision theory for classification of streaming data with temporal dependence", 2015);
- error rate against the majority: kappa-M (Bifet, De Francisci Morales, Read, Holmes and Pfahringer,
  "Efficient online evaluation of big data stream classifiers", 2015);
- Brier score against the share of true labels: the Brier skill score (Murphy, 1973);
- mean absolute error against the last value: 1 - MAE / MAE of no change.

River has none of these. Its `metrics.CohenKappa` compares with chance; a pipeline may declare it as a metric.
"""

from collections.abc import Mapping, Sequence
from math import nan

from flows.core.evaluation.rolling import FadingMean


def skill(loss: float, baseline: float) -> float:
    """Return 1 for a model without loss, 0 for one as good as the baseline, less than 0 for a worse one.

    Returns NaN without labels or if the baseline has no loss. For error rates this is the kappa statistic:
    1 - error / error' = (p - p') / (1 - p').

    >>> skill(0.1, 0.4), skill(0.5, 0.4), skill(0.0, 0.0)
    (0.75, -0.25, nan)
    """
    return 1.0 - loss / baseline if baseline > 0.0 else nan


def skills(losses: Mapping[str, float], model: str) -> dict[str, float]:
    """Return the skill of `model` against each other predictor, given their losses over the same labels.

    >>> skills({"model": 0.25, "majority": 0.5, "no-change": 0.25}, "model")
    {'majority': 0.5, 'no-change': 0.0}
    """
    return {name: skill(losses[model], loss) for name, loss in losses.items() if name != model}


class Losses:
    """The mean loss of each predictor, over all labels and with a fading factor `alpha` (see `FadingMean`).

    >>> errors = Losses(("model", "no-change"), alpha=0.5)
    >>> for losses in ((0.0, 0.0), (0.0, 1.0)):
    ...     errors.update(losses)
    >>> errors.means()
    {'model': 0.0, 'no-change': 0.5}
    >>> round(errors.fading()["no-change"], 3)
    0.667
    """

    def __init__(self, predictors: Sequence[str], alpha: float) -> None:
        self._count = 0
        self._sums = dict.fromkeys(predictors, 0.0)
        self._fading = {name: FadingMean(alpha) for name in predictors}

    def update(self, losses: Sequence[float]) -> None:
        """Add the losses of all predictors for one label, in the order of the predictors."""
        self._count += 1
        for name, loss in zip(self._sums, losses, strict=True):
            self._sums[name] += loss
            self._fading[name].update(loss)

    def means(self) -> dict[str, float]:
        """Return the mean loss over all labels, NaN before the first label."""
        return {name: total / self._count if self._count else nan for name, total in self._sums.items()}

    def fading(self) -> dict[str, float]:
        """Return the fading mean, NaN before the first label."""
        return {name: mean.get() for name, mean in self._fading.items()}
