"""Count and mean in windows of 1, 7 and 30 days, for the customer and, a week later, the terminal."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, Field, FileSource, KafkaSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, Int64, String

OFFLINE = Path(__file__).resolve().parent.parent / ".driftline" / "offline"
TEXTS = "transaction_id string, customer_id string, terminal_id string"
FIELDS = f"{TEXTS}, at timestamp, amount double, fraud boolean"


def view(name: str, key: str, column: str, tags: dict[str, str] | None = None) -> StreamFeatureView:
    """Return the view of the column's windows, for each value of the key."""
    aggregations = [
        Aggregation(
            name=f"{function}_{days}d", function=function, column=column, time_window=timedelta(days=days)
        )
        for days in (1, 7, 30)
        for function in ("count", "mean")
    ]
    schema = [
        Field(name=each.name, dtype=Int64 if each.function == "count" else Float64) for each in aggregations
    ]
    return StreamFeatureView(
        name=name,
        entities=[Entity(name=key, join_keys=[key], value_type=ValueType.STRING)],
        source=KafkaSource(
            name=f"{name}_stream",
            topic="transactions",
            timestamp_field="at",
            kafka_bootstrap_servers="localhost:9092",  # Feast asks for it
            message_format=JsonFormat(FIELDS),
            batch_source=FileSource(
                name=f"{name}_history",
                path=str(OFFLINE / name / "**" / "*.parquet"),
                timestamp_field="event_timestamp",
                created_timestamp_column="created",
            ),
        ),
        timestamp_field="at",
        schema=[Field(name=key, dtype=String), *schema],
        aggregations=aggregations,
        ttl=timedelta(days=40),
        tags=tags,
    )


customer_transactions = view("customer_transactions", "customer_id", "amount")
terminal_transactions = view("terminal_transactions", "terminal_id", "fraud", {"driftline.delay": "7d"})
windows = FeatureService(name="windows", features=[customer_transactions, terminal_transactions])
