"""The numbers of a pipeline's records that a model depends on and for which no range is declared."""

from flows.core.features.plan import COUNTS, FeaturePlan
from flows.core.stream.fields import Field, Number
from flows.pipeline import Pipeline


def missing_ranges(pipeline: Pipeline, plan: FeaturePlan) -> list[str]:
    """Fields, as `topic.field`, that let every number through: inputs, aggregated columns, the target."""
    streams = {stream.topic: stream for stream in pipeline.input_streams}
    events, labels = pipeline.events.topic, pipeline.labels.topic
    read = [(events, name) for name in pipeline.inputs]
    read += [(events, field.name) for transform in plan.transforms for field in transform.fields]
    read += [(view.stream, a.column) for view in plan.views for a in view.aggregates if _is_value(a.function)]
    read.append((labels, pipeline.target))
    return [
        f"{topic}.{name}"
        for topic, name in dict.fromkeys(read)
        if topic in streams and _is_unbounded(streams[topic].fields.get(name))
    ]


def missing_ranges_warning(pipeline: Pipeline, plan: FeaturePlan) -> str | None:
    """What to tell the user of them, if there are any."""
    fields = missing_ranges(pipeline, plan)
    if not fields:
        return None
    return (
        f"{pipeline.name}: no range is declared for {', '.join(fields)}; declare Number(low, high), so that "
        "an impossible value is a dead letter and reaches no feature"
    )


def _is_value(function: str) -> bool:
    """Whether the function's result grows with the numbers that it reads."""
    return function not in COUNTS


def _is_unbounded(field: Field | None) -> bool:
    return isinstance(field, Number) and (field.low == Number.low or field.high == Number.high)
