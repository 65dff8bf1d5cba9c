"""The step of the predict flow that scores."""

import logging

from flows.adapters.prometheus import metrics
from flows.core.features import feature_rows
from flows.core.features.by_shard import Vectors
from flows.core.features.plan import FeaturePlan
from flows.core.models.model import Lineup, Model
from flows.core.models.snapshots import Sealer
from flows.core.serving.predictor import Predictor
from flows.core.stream.broker import Outgoing
from flows.host.functions import load_transformer
from flows.pipeline import Pipeline
from flows.runtime.steps.model_gauges import show_models
from flows.runtime.user_faults import FaultLog

_log = logging.getLogger("driftline.predict")


class PredictStep:
    """Keyed by slot: the models in service. Turns a batch into its output records."""

    def __init__(self, pipeline: Pipeline, plan: FeaturePlan, sealer: Sealer, state: bytes | None) -> None:
        self._sealer = sealer
        self._features = pipeline.topic("features")
        lineup: Lineup = sealer.open_state(state) if state else Lineup(pipeline.new_model())
        self._predictor = Predictor(
            pipeline.name,
            pipeline.inputs,
            plan,
            load_transformer(plan),
            lineup,
            sealer,
            FaultLog(_log),
            (*pipeline.entities, pipeline.events.id)[0],
        )
        self._shown: Model | None = None

    def take(self, values: list[Vectors]) -> list[list[Outgoing]]:
        """Return the predictions, feature rows and dead letters of each batch."""
        with metrics.STAGE.labels("predict").time():
            out = [
                self._predictor.score(given.batch, given.vectors)
                + feature_rows.encode(self._features, given.rows)
                for given in values
            ]
        self._show_lineup()
        return out

    def snapshot(self) -> bytes:
        """Return the models in service, sealed."""
        return self._sealer.seal_state(self._predictor.lineup)

    def _show_lineup(self) -> None:
        """Set the gauges of the models in service if the champion has changed."""
        lineup = self._predictor.lineup
        if lineup.champion is not self._shown:
            self._shown = lineup.champion
            show_models(lineup.champion, lineup.challengers)
