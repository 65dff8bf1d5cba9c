"""A Feast repository of shops and their sales, and what it compiles to."""

from pathlib import Path

from places import SHIPPED

from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.repo import apply
from flows.core.features.plan import LATENESS, FeaturePlan

YAML = "feature_store.yaml"

SHOPS = """
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource
from feast import KafkaSource, PushSource, StreamFeatureView, ValueType
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat
from feast.types import Float64, Int64, String

shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)
town = Entity(name="town", join_keys=["town"], value_type=ValueType.STRING)
history = FileSource(
    name="history",
    path="/nowhere/sales/**/*.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
)
stream = KafkaSource(
    name="stream",
    topic="sales-topic",
    timestamp_field="at",
    kafka_bootstrap_servers="localhost:9092",
    message_format=JsonFormat("shop_id string, at timestamp, price double"),
    batch_source=history,
)
sales = StreamFeatureView(
    name="sales",
    entities=[shop],
    source=stream,
    timestamp_field="at",
    schema=[Field(name="n", dtype=Int64), Field(name="mean", dtype=Float64)],
    aggregations=[
        Aggregation(name="n", function="count", time_window=timedelta(hours=1)),
        Aggregation(name="mean", function="mean", column="price", time_window=timedelta(hours=2)),
    ],
    tags={"team": "tills"},
)
shops = FeatureService(name="shops", features=[sales])
"""


def repository(directory: Path, declarations: str) -> Path:
    """Create a feature repository in `directory` with these declarations, on SQLite."""
    repo = directory / "feature_repo"
    repo.mkdir(parents=True)
    (repo / YAML).write_text((SHIPPED / YAML).read_text())
    (repo / "declarations.py").write_text(declarations)
    return repo


def compiled(repo: Path, *changes: tuple[str, str], service: str = "shops") -> FeaturePlan:
    """Apply the repository with these replacements in its declarations; return the service's plan."""
    text = (repo / "declarations.py").read_text()
    for old, new in changes:
        assert text.count(old) >= 1
        text = text.replace(old, new, 1)
    (repo / "declarations.py").write_text(text)
    apply(repo, YAML)
    return compile_plan(repo, YAML, service, LATENESS)
