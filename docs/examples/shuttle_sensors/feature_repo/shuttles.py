"""Mean of each shuttle sensor over the last hour."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, String

HOUR = timedelta(hours=1)
HISTORY = Path(__file__).resolve().parent.parent / ".driftline" / "offline" / "shuttle_readings"
SENSORS = [f"f{number}" for number in range(1, 10)]

shuttle = Entity(name="shuttle", join_keys=["shuttle"], value_type=ValueType.STRING)

shuttle_readings = StreamFeatureView(
    name="shuttle_readings",
    entities=[shuttle],
    source=KafkaSource(
        name="readings",
        topic="readings",
        timestamp_field="read_at",
        kafka_bootstrap_servers="localhost:9092",  # Feast asks for it; the engine reads DRIFTLINE_BROKER
        message_format=JsonFormat(
            "reading_id string, read_at timestamp, shuttle string, "
            + ", ".join(f"{name} double" for name in SENSORS)
        ),
        batch_source=FileSource(
            name="readings_history",
            path=str(HISTORY / "**" / "*.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    ),
    timestamp_field="read_at",
    schema=[
        Field(name="shuttle", dtype=String),
        *[Field(name=f"mean_{name}_1h", dtype=Float64) for name in SENSORS],
    ],
    aggregations=[
        Aggregation(name=f"mean_{name}_1h", function="mean", column=name, time_window=HOUR)
        for name in SENSORS
    ],
    ttl=HOUR,
)

shuttle_sensors = FeatureService(name="shuttle_sensors", features=[shuttle_readings])
