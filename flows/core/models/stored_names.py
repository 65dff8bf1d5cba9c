"""The names under which pickles hold classes and functions of Driftline.

What is stored must outlive a move of the code, so it holds no module path of ours. A name in this table is a
promise: the place may change, the name may not. Classes of River and of a user's project keep their paths.
"""

from collections.abc import Mapping
from typing import Any

Place = tuple[str, str]  # a module and a qualified name, as `pickle` looks them up
Table = Mapping[Place, Any]

MODULE = "driftline"  # in place of a module path

_PLACES = {
    "attribution": "flows.core.drift.attribution:AttributionDrift",
    "baseline.class": "flows.core.models.baselines:ClassBaseline",
    "baseline.flag": "flows.core.models.baselines:FlagBaseline",
    "baseline.mean": "flows.core.models.baselines:MeanBaseline",
    "baseline.share": "flows.core.models.baselines:ShareBaseline",
    "bins.card_fraud": "flows.pipelines.card_fraud:bins",
    "bins.flight_delays": "flows.pipelines.flight_delays:bins",
    "calibration": "flows.core.evaluation.calibration:Calibration",
    "columns.categories": "flows.core.drift.columns:_Categories",
    "columns.category": "flows.core.drift.columns:CategoryColumn",
    "columns.comparison": "flows.core.drift.columns:ColumnComparison",
    "columns.counts": "flows.core.drift.columns:_Counts",
    "columns.number": "flows.core.drift.columns:NumberColumn",
    "columns.slice_means": "flows.core.drift.columns:SliceMeans",
    "concept": "flows.core.drift.concept:ConceptDrift",
    "concept.recovery": "flows.core.drift.error_windows:Recovery",
    "concept.slices": "flows.core.drift.error_windows:SliceErrors",
    "concept.window": "flows.core.drift.error_windows:ErrorWindow",
    "contest": "flows.core.learning.contest:Contest",
    "contest.blocks": "flows.core.learning.contest:BlockMeans",
    "contest.policy": "flows.core.learning.policy:ContestPolicy",
    "contest.rival": "flows.core.learning.rival:Rival",
    "contest.lead": "flows.core.learning.trial:Lead",
    "contest.roles": "flows.core.learning.roles:Roles",
    "cost_curve": "flows.core.evaluation.costs:CostCurve",
    "costs": "flows.core.evaluation.costs:Costs",
    "drift.column_move": "flows.core.drift.levels:ColumnMove",
    "drift.context": "flows.core.drift.monitor:SignalContext",
    "drift.gate": "flows.core.drift.levels:Gate",
    "drift.monitor": "flows.core.drift.monitor:DriftMonitor",
    "drift.position": "flows.core.drift.levels:Position",
    "drift.settings": "flows.core.drift.monitor:MonitorSettings",
    "drift.signal": "flows.core.drift.signal:DriftSignal",
    "drift.slice_move": "flows.core.drift.levels:SliceMove",
    "error.brier": "flows.core.models.tasks.classification:_HalfBrierScore",
    "error.flag": "flows.core.models.tasks.anomaly:_FlagError",
    "error.scaled": "flows.core.models.tasks.regression:_ScaledError",
    "error.squared": "flows.core.models.tasks.classification:_SquaredError",
    "evaluation": "flows.core.evaluation.evaluation:Evaluation",
    "evaluation.baselines": "flows.core.evaluation.evaluation:Baselines",
    "evaluation.losses": "flows.core.evaluation.skill:Losses",
    "evaluation.slices": "flows.core.evaluation.slices:Slices",
    "features": "flows.core.drift.features.detector:FeatureDrift",
    "features.compared": "flows.core.drift.features.policy:ComparedWindow",
    "features.comparison": "flows.core.drift.features.comparison:WindowComparison",
    "features.group": "flows.core.drift.features.comparison:ColumnGroup",
    "features.policy": "flows.core.drift.features.policy:FeaturePolicy",
    "features.reference": "flows.core.drift.features.reference:ReferenceSample",
    "label": "flows.core.evaluation.label_join:Label",
    "label_join": "flows.core.evaluation.label_join:LabelJoin",
    "label_join.learned": "flows.core.evaluation.learned_truths:LearnedTruths",
    "label_join.pending": "flows.core.evaluation.pending:PendingPredictions",
    "learner": "flows.core.learning.learner:Learner",
    "learner.policy": "flows.core.learning.policy:Policy",
    "lineup": "flows.core.models.model:Lineup",
    "lineup.canary": "flows.core.models.model:Canary",
    "model": "flows.core.models.model:Model",
    "order.run": "flows.core.learning.candidates.order:Run",
    "outliers": "flows.core.learning.outliers:OutlierFilter",
    "outliers.range": "flows.core.learning.outliers:_Range",
    "outliers.ranges": "flows.core.learning.outliers:Ranges",
    "prepare.card_fraud": "flows.pipelines.card_fraud:prepare",
    "prepare.flight_delays": "flows.pipelines.flight_delays:prepare",
    "quality": "flows.core.drift.quality.detector:DataQuality",
    "quality.column": "flows.core.drift.quality.policy:Column",
    "quality.policy": "flows.core.drift.quality.policy:QualityPolicy",
    "quality.references": "flows.core.drift.quality.reference:References",
    "quality.tally": "flows.core.drift.quality.tally:Tally",
    "quality.trackers": "flows.core.drift.quality.trackers:Trackers",
    "recent.rows": "flows.core.learning.candidates.recent:RecentRows",
    "recent_items": "flows.core.evaluation.rolling:RecentItems",
    "record": "flows.core.stream.broker:Record",
    "task.anomaly": "flows.core.models.tasks.anomaly:Anomaly",
    "task.binary": "flows.core.models.tasks.classification:Binary",
    "task.multiclass": "flows.core.models.tasks.classification:Multiclass",
    "task.regression": "flows.core.models.tasks.regression:Regression",
}


def _place(path: str) -> Place:
    module, _, name = path.partition(":")
    return module, name


NAMES: Mapping[Place, str] = {_place(path): name for name, path in _PLACES.items()}
STATE_MODULES = tuple(sorted({module for module, _ in NAMES if module.startswith("flows.core.")}))


def stored_place(module: str, name: str) -> Place:
    """Return the place by which a pickle refers to what a module defines.

    >>> stored_place("flows.core.learning.learner", "Learner")
    ('driftline', 'learner')
    >>> stored_place("river.stats.mean", "Mean")
    ('river.stats.mean', 'Mean')
    """
    stored = NAMES.get((module, name))
    return (module, name) if stored is None else (MODULE, stored)


def by_stored_place(table: Table) -> Table:
    """Return the table by the places that pickles hold."""
    return {stored_place(*place): found for place, found in table.items()}
