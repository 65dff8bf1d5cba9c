"""Weights of the chick so far, and of the chicks on the same feed."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, Int64, String

OFFLINE = Path(__file__).resolve().parent.parent / ".driftline" / "offline"
FIELDS = "weighing_id string, weighed_at timestamp, chick string, feed string, grams double"

chick = Entity(name="chick", join_keys=["chick"], value_type=ValueType.STRING)
feed = Entity(name="feed", join_keys=["feed"], value_type=ValueType.STRING)


def weights(name: str) -> KafkaSource:
    """Return the source topic, with the history folder of the view `name`."""
    return KafkaSource(
        name=f"{name}_stream",
        topic="weights",
        timestamp_field="weighed_at",
        kafka_bootstrap_servers="localhost:9092",  # Feast asks for it; the engine reads DRIFTLINE_BROKER
        message_format=JsonFormat(FIELDS),
        batch_source=FileSource(
            name=f"{name}_history",
            path=str(OFFLINE / name / "**" / "*.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )


def of_grams(name: str, function: str, days: int) -> Aggregation:
    """Return an aggregation of the weights of the last `days`."""
    return Aggregation(name=name, function=function, column="grams", time_window=timedelta(days=days))


chick_weights_view = StreamFeatureView(
    name="chick_weights",
    entities=[chick],
    source=weights("chick_weights"),
    timestamp_field="weighed_at",
    schema=[
        Field(name="chick", dtype=String),
        Field(name="first_30d", dtype=Float64),
        Field(name="last_14d", dtype=Float64),
        Field(name="count_30d", dtype=Int64),
    ],
    aggregations=[
        of_grams("first_30d", "first", 30),
        of_grams("last_14d", "last", 14),
        of_grams("count_30d", "count", 30),
    ],
    ttl=timedelta(days=30),
)

feed_weights_view = StreamFeatureView(
    name="feed_weights",
    entities=[feed],
    source=weights("feed_weights"),
    timestamp_field="weighed_at",
    schema=[
        Field(name="feed", dtype=String),
        Field(name="mean_3d", dtype=Float64),
        Field(name="max_3d", dtype=Float64),
    ],
    aggregations=[of_grams("mean_3d", "mean", 3), of_grams("max_3d", "max", 3)],
    ttl=timedelta(days=3),
)

chick_weights = FeatureService(name="chick_weights", features=[chick_weights_view, feed_weights_view])
