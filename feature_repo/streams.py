"""The streams of both examples as Feast sources: a topic, and where Driftline keeps a view's history."""

from pathlib import Path

from feast import FileSource, KafkaSource
from feast.data_format import JsonFormat

OFFLINE = Path(__file__).resolve().parent.parent / ".driftline" / "offline"


def stream(view: str, topic: str, time: str, fields: str) -> KafkaSource:
    """The topic, whose records have `fields`, and the parquet parts that keep the view's history."""
    return KafkaSource(
        name=f"{view}_stream",
        topic=topic,
        timestamp_field=time,
        # Feast asks for an address; Driftline reads the broker of DRIFTLINE_BROKER.
        kafka_bootstrap_servers="localhost:9092",
        message_format=JsonFormat(fields),
        batch_source=FileSource(
            name=f"{view}_history",
            # Absolute, since Feast's duckdb store reads relative paths from the working directory.
            path=str(OFFLINE / view / "**" / "*.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )
