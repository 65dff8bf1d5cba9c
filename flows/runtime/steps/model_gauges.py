"""The gauges of the models in service, which both the predict and the learn flow set."""

from collections.abc import Iterable

from flows.adapters.prometheus import metrics
from flows.core.models.model import Model


def show_models(champion: Model, challengers: Iterable[str]) -> None:
    """Set the gauges of the champion, and of the challengers by their versions."""
    metrics.MODEL_LABELS.set(champion.learned)
    metrics.snapshot_taken()
    metrics.models_in_service(
        {champion.version: "champion", **dict.fromkeys(challengers, "challenger")},
    )
