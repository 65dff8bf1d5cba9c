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
    """The mean loss of each predictor, over all labels and with a fading factor `alpha`.

    In a fading mean, each label weighs `alpha` times as much as the next one. This is the fading estimator of
    Gama, Sebastião and Rodrigues ("On evaluating stream learning algorithms", 2013): two numbers instead of a
    window, with a memory of about `1 / (1 - alpha)` labels. It needs a loss of single labels, such as an
    error, a squared error or a log loss. The area under the ROC curve is defined over pairs of labels, so it
    is computed over a window instead. Losses must be finite, since others would never fade.

    >>> errors = Losses(("model", "no-change"), alpha=0.5)
    >>> errors.update_many([[0.0, 0.0], [0.0, 1.0]])
    >>> errors.means()
    {'model': 0.0, 'no-change': 0.5}
    >>> round(errors.fading()["no-change"], 3)
    0.667
    """

    def __init__(self, predictors: Sequence[str], alpha: float) -> None:
        self._alpha = alpha
        self._count = 0
        self._weight = 0.0  # of all labels, faded
        self._sums = dict.fromkeys(predictors, 0.0)
        self._faded = dict.fromkeys(predictors, 0.0)

    def update_many(self, losses: Sequence[Sequence[float]]) -> None:
        """Add the losses of each predictor for some labels."""
        for name, of_predictor in zip(self._sums, losses, strict=True):
            self._add(name, of_predictor)
        self._count += len(losses[0])
        for _ in losses[0]:
            self._weight = 1.0 + self._alpha * self._weight

    def means(self) -> dict[str, float]:
        """Return the mean loss over all labels, NaN before the first label."""
        return {name: total / self._count if self._count else nan for name, total in self._sums.items()}

    def fading(self) -> dict[str, float]:
        """Return the fading mean, NaN before the first label."""
        return {name: faded / self._weight if self._weight else nan for name, faded in self._faded.items()}

    def _add(self, name: str, losses: Sequence[float]) -> None:
        alpha, total, faded = self._alpha, self._sums[name], self._faded[name]
        for loss in losses:
            total += loss
            faded = loss + alpha * faded
        self._sums[name], self._faded[name] = total, faded
