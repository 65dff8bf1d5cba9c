"""Trains the models of a learner on labels and on events, with outliers treated as declared."""

from collections.abc import Sequence

from flows.core.evaluation.label_join import Joined
from flows.core.learning.events import DeadLabel, LearnerEvent, LearningFailure, Outlier
from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.roles import Roles
from flows.core.models.block_learning import COMPILE_FROM, learn_block
from flows.core.models.model import Model, Prediction
from flows.core.models.tasks import Truth
from flows.core.user_code import describe


class Lessons:
    """Trains the models that learn; `names` are those of their features."""

    def __init__(self, names: tuple[str, ...], outliers: OutlierFilter, roles: Roles) -> None:
        self._names = names
        self._outliers = outliers
        self._roles = roles

    def labels(self, waiting: Sequence[Joined], events: list[LearnerEvent]) -> None:
        """Train the champion, which is alone, on labels; how many there are does not affect it."""
        width = len(self._names)
        if len(waiting) >= COMPILE_FROM and all(len(each[0][0].features) == width for each in waiting):
            self._block(waiting, events)
        else:
            for joined in waiting:
                self.label(joined, events)

    def label(self, joined: Joined, events: list[LearnerEvent]) -> Outlier | None:
        """Train the models on one label; return its outliers, if any."""
        label = joined.label
        outlier, failures = self.event(joined.pending.prediction, label.truth)
        events += [DeadLabel(label.record, "model", each.detail, each.error) for each in failures]
        if outlier:
            events.append(outlier)
        return outlier

    def event(
        self, prediction: Prediction, truth: Truth | None
    ) -> tuple[Outlier | None, list[LearningFailure]]:
        """Train the models on an event; return its outliers, if any, and the failures."""
        if len(prediction.features) != len(self._names):
            return None, [LearningFailure("its prediction was made with another feature plan")]
        features, truth, outside = self._outliers.apply(prediction.features, truth)
        outlier = Outlier(prediction.id, outside) if outside else None
        if features is None:
            return outlier, []
        failures = []
        for model in self._roles.learning:
            error = model.learn(features, truth)
            if error is not None:
                failures.append(LearningFailure(unlearned(model, error), error))
        return outlier, failures

    def _block(self, waiting: Sequence[Joined], events: list[LearnerEvent]) -> None:
        """Train the champion on labels all at once."""
        model, rows = self._roles.champion, [joined[0][0].features for joined in waiting]
        block = self._outliers.apply_block(rows, [joined[1].truth for joined in waiting])
        errors = learn_block(model, self._names, block.rows, block.truths)
        for joined, error in zip(waiting, errors, strict=True):
            if error is not None:
                events.append(DeadLabel(joined.label.record, "model", unlearned(model, error), error))
        events += [Outlier(waiting[at].label.id, outside) for at, outside in block.outside.items()]


def unlearned(model: Model, error: Exception) -> str:
    """Return the detail of a dead letter for an event that a model could not learn."""
    return f"model {model.version} cannot learn it: {describe(error)}"
