"""Flow through the pipe in the last hours and the last day."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, String

DAY = timedelta(days=1)
HISTORY = Path(__file__).resolve().parent.parent / ".driftline" / "offline" / "pipe_flow"

pipe = Entity(name="pipe", join_keys=["pipe"], value_type=ValueType.STRING)


def of_flow(name: str, function: str, window: timedelta) -> Aggregation:
    """Return an aggregation of the flow in the window."""
    return Aggregation(name=name, function=function, column="flow", time_window=window)


aggregations = [
    of_flow("last_24h", "last", DAY),
    of_flow("mean_3h", "mean", timedelta(hours=3)),
    of_flow("mean_24h", "mean", DAY),
    of_flow("min_24h", "min", DAY),
    of_flow("max_24h", "max", DAY),
    of_flow("std_24h", "std", DAY),
]

pipe_flow = StreamFeatureView(
    name="pipe_flow",
    entities=[pipe],
    source=KafkaSource(
        name="measurements",
        topic="measurements",
        timestamp_field="measured_at",
        kafka_bootstrap_servers="localhost:9092",  # Feast asks for it; the engine reads DRIFTLINE_BROKER
        message_format=JsonFormat("hour_id string, measured_at timestamp, pipe string, flow double"),
        batch_source=FileSource(
            name="measurements_history",
            path=str(HISTORY / "**" / "*.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    ),
    timestamp_field="measured_at",
    schema=[Field(name="pipe", dtype=String), *[Field(name=a.name, dtype=Float64) for a in aggregations]],
    aggregations=aggregations,
    ttl=DAY,
)

water_flow = FeatureService(name="water_flow", features=[pipe_flow])
