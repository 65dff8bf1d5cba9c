"""What the card and the terminal of a transaction did in the last days, and how risky the terminal is.

These are the features of the Fraud Detection Handbook, chapter 3. What became of a transaction is known after
seven days, so the windows of a terminal end seven days before the question.
"""

from datetime import timedelta

from feast import (
    Entity,
    FeatureService,
    Field,
    OnDemandFeatureView,
    RequestSource,
    StreamFeatureView,
    ValueType,
)
from feast.aggregation import Aggregation
from feast.types import Float64, Int64, String
from streams import stream

from flows.pipelines import card_features

WINDOWS = {window: timedelta(days=int(window.removesuffix("d"))) for window in card_features.WINDOWS}
TTL = timedelta(days=40)  # the longest window and the delay fit in
DELAYED = {"driftline.delay": "7d"}

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
terminal = Entity(name="terminal", join_keys=["terminal_id"], value_type=ValueType.STRING)
transaction = RequestSource(name="transaction", schema=[Field(name="time", dtype=String)])


def aggregates(
    entity: Entity, topic: str, functions: dict[str, str], name: str, tags: dict[str, str] | None = None
) -> StreamFeatureView:
    """The `functions` (feature to function) of the amounts in each window over the topic's records."""
    customer_id = "customer_id string, " if topic == "transactions" else ""
    fields = f"transaction_id string, time timestamp, {customer_id}terminal_id string, amount double"
    features = [(f"{f}_{w}", function, window) for w, window in WINDOWS.items() for f, function in functions.items()]
    return StreamFeatureView(
        name=name,
        entities=[entity],
        source=stream(name, topic, "time", fields),
        timestamp_field="time",
        schema=[
            Field(name=entity.join_key, dtype=String),
            *[Field(name=f, dtype=Float64 if function == "mean" else Int64) for f, function, _ in features],
        ],
        aggregations=[
            Aggregation(name=feature, function=function, column="amount", time_window=window)
            for feature, function, window in features
        ],
        ttl=TTL,
        tags=tags,
    )


def transform(function, sources, schema: list[Field]) -> OnDemandFeatureView:
    """The function, which the flows run on a batch and Feast on what it reads."""
    return OnDemandFeatureView(
        name=function.__name__, sources=sources, schema=schema, udf=function, udf_string=getsource(function), mode="python"
    )
