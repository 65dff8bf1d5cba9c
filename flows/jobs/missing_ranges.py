"""Finds the numbers that a model depends on and for which no range is declared."""

from flows.core.features.plan import COUNTS, FeaturePlan
from flows.core.stream.fields import Field, Number
from flows.pipeline import Pipeline


def missing_ranges(pipeline: Pipeline, plan: FeaturePlan) -> list[str]:
    """Return the inputs, aggregated columns and target without a full range, as `topic.field`."""
    streams = {stream.topic: stream for stream in pipeline.input_streams}
    events, labels = pipeline.events.topic, pipeline.labels.topic
    read = [(events, name) for name in pipeline.inputs]
    read += [(events, field.name) for transform in plan.transforms for field in transform.fields]
    read += [
        (view.stream, aggregate.column)
        for view in plan.views
        for aggregate in view.aggregates
        if aggregate.function not in COUNTS  # whose result does not depend on the numbers' size
    ]
    read.append((labels, pipeline.target))
    return [
        f"{topic}.{name}"
        for topic, name in dict.fromkeys(read)
        if topic in streams and _lacks_range(streams[topic].fields.get(name))
    ]


def missing_ranges_warning(pipeline: Pipeline, plan: FeaturePlan) -> str | None:
    """Return the warning that names the fields, None if every number has a range."""
    fields = missing_ranges(pipeline, plan)
    if not fields:
        return None
    return (
        f"{pipeline.name}: no range is declared for {', '.join(fields)}; declare Number(low, high), so that "
        "an impossible value becomes a dead letter and reaches no feature"
    )


def _lacks_range(field: Field | None) -> bool:
    return isinstance(field, Number) and (field.low == Number.low or field.high == Number.high)
