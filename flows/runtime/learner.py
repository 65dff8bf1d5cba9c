"""Makes the learner that a pipeline declares."""

from flows.core.drift.monitor import MonitorSettings
from flows.core.drift.quality import Column
from flows.core.features.plan import FeaturePlan
from flows.core.learning.learner import Learner
from flows.core.learning.policy import Policy
from flows.core.stream.fields import Field, Number
from flows.core.stream.times import in_milliseconds
from flows.pipeline import Pipeline


def new_learner(pipeline: Pipeline, plan: FeaturePlan) -> Learner:
    """Return the learner of a pipeline that has seen no label."""
    policy = Policy(
        label_wait=in_milliseconds(pipeline.label_wait),
        delta=pipeline.drift.delta,
        warm_up=pipeline.drift.warm_up,
        cool_down=in_milliseconds(pipeline.drift.cool_down),
        contests=pipeline.retrain.contests(),
        detector=pipeline.drift.detector,
        options=pipeline.drift.options,
        default_label=pipeline.default_label,
        max_pending=pipeline.max_pending,
        outliers=pipeline.outliers,
        monitor=MonitorSettings(
            columns(pipeline, plan),
            pipeline.drift.kinds,
            pipeline.drift.features(),
            pipeline.drift.quality(),
            pipeline.slices,
            pipeline.drift.warm_up,
        ),
    )
    names = pipeline.feature_names(plan)
    return Learner(pipeline.name, policy, names, pipeline.new_model(), pipeline.evaluation())


def columns(pipeline: Pipeline, plan: FeaturePlan) -> dict[str, Column]:
    """Return the type and range of the model's features by name, for drift and data quality."""
    fields = pipeline.events.fields
    inputs = {name: _column(fields[name]) for name in pipeline.inputs}
    features = zip(plan.names, plan.dtypes, plan.fills, strict=True)
    return inputs | {
        name: Column("category" if dtype == "string" else "number", fill=fill)
        for name, dtype, fill in features
    }


def _column(field: Field) -> Column:
    """Return the column of an event field; a range that is not declared is learned."""
    if not isinstance(field, Number):
        return Column("category")
    low = None if field.low == Number.low else field.low
    high = None if field.high == Number.high else field.high
    return Column("number", low, high)
