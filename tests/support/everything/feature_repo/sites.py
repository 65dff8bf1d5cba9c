"""All aggregation functions over the clicks of a site, in exact windows and in tiled ones."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, Int64, String

OFFLINE = Path(__file__).resolve().parent.parent / ".driftline" / "offline"
QUARTER, STEP = timedelta(minutes=15), timedelta(minutes=1)
NUMERIC = ("sum", "mean", "min", "max", "std", "var", "first", "last", "p95")

site = Entity(name="site", join_keys=["site"], value_type=ValueType.STRING)


def clicks(name: str) -> KafkaSource:
    """Return the source of the clicks, with the folder for the history of view `name`."""
    return KafkaSource(
        name=f"{name}_stream",
        topic="clicks",
        timestamp_field="at",
        kafka_bootstrap_servers="localhost:9092",
        message_format=JsonFormat(
            "click_id string, at timestamp, site string, seconds double, referrer string"
        ),
        batch_source=FileSource(
            name=f"{name}_history",
            path=str(OFFLINE / name / "**" / "*.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )


site_clicks = StreamFeatureView(
    name="site_clicks",
    entities=[site],
    source=clicks("site_clicks"),
    timestamp_field="at",
    schema=[
        Field(name="site", dtype=String),
        Field(name="clicks", dtype=Int64),
        Field(name="referrers", dtype=Int64),
        Field(name="last_referrer", dtype=String),
        Field(name="idle", dtype=Float64),
        *[Field(name=function, dtype=Float64) for function in NUMERIC],
    ],
    aggregations=[
        Aggregation(name="clicks", function="count", column="seconds", time_window=QUARTER),
        Aggregation(name="referrers", function="count_distinct", column="referrer", time_window=QUARTER),
        Aggregation(name="last_referrer", function="last", column="referrer", time_window=QUARTER),
        Aggregation(name="idle", function="time_since_last", column="seconds", time_window=QUARTER),
        *[
            Aggregation(name=function, function=function, column="seconds", time_window=QUARTER)
            for function in NUMERIC
        ],
    ],
    ttl=QUARTER,
)

site_steps = StreamFeatureView(
    name="site_steps",
    entities=[site],
    source=clicks("site_steps"),
    timestamp_field="at",
    schema=[Field(name="site", dtype=String), Field(name="clicks", dtype=Int64)],
    aggregations=[
        Aggregation(
            name="clicks", function="count", column="seconds", time_window=QUARTER, slide_interval=STEP
        )
    ],
    ttl=timedelta(hours=1),
    tags={"driftline.delay": "1m"},
)

phishing = FeatureService(name="phishing", features=[site_clicks, site_steps])
