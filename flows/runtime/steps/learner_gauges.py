"""The gauges, counters and warnings of the learner."""

import logging
from collections.abc import Mapping

from flows.adapters.prometheus import metrics
from flows.core.learning.events import Outlier
from flows.core.learning.learner import Learner
from flows.runtime.steps.model_gauges import show_models

_OUTLIER_POLICY = {"skip": "the event is not learned", "clip": "it is learned as the end of the range"}

_log = logging.getLogger("driftline.learn")


class LearnerGauges:
    """Shows the state of one learner; `max_pending` and `outliers` are those of the declaration."""

    def __init__(self, learner: Learner, max_pending: int, outliers: str) -> None:
        self._learner = learner
        self._max_pending = max_pending
        self._outliers = outliers
        self._evicted = learner.evicted  # as the counter has it
        self._warned = False
        self._outlying: set[str] = set()  # features with an outlier in the log
        for signal in learner.open_signals:
            metrics.DRIFT_OPEN.labels(signal.kind, signal.severity).set(1)

    def show_pending(self) -> None:
        """Show how many predictions wait for their label, and warn once when some are evicted."""
        evicted = self._learner.evicted
        metrics.PENDING_LABELS.set(self._learner.pending)
        metrics.PENDING_EVICTED.inc(evicted - self._evicted)
        if evicted > self._evicted and not self._warned:
            self._warned = True
            _log.warning(
                "more than max_pending = %d predictions wait for their label: the oldest are dropped before "
                "their label wait is over. If labels do arrive, raise max_pending or shorten label_wait",
                self._max_pending,
            )
        self._evicted = evicted

    def show_outlier(self, outlier: Outlier) -> None:
        """Count the outlier, and log the first one of each feature."""
        for name, found in outlier.outside.items():
            metrics.OUTLIERS.labels(name).inc()
            if name not in self._outlying:
                self._outlying.add(name)
                _log.warning(
                    "event %r: %s is %g, far outside the range %g to %g of what was learned; %s "
                    "(outliers=%r); further outliers of %s are only counted",
                    outlier.id,
                    name,
                    found.value,
                    found.low,
                    found.high,
                    _OUTLIER_POLICY[self._outliers],
                    self._outliers,
                    name,
                )

    def show_metrics(self, values: Mapping[str, Mapping[str, float]]) -> None:
        """Show the models in service, and their metrics by predictor and name."""
        learner = self._learner
        show_models(learner.champion, [rival.model.version for rival in learner.roles.rivals])
        for predictor, of_predictor in values.items():
            for name, value in of_predictor.items():
                metrics.METRIC.labels(name, predictor).set(value)
