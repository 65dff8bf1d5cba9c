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
from feast.types import Float64, Int64, String, UnixTimestamp
from streams import stream

from flows.pipelines import card_features

WINDOWS = {window: timedelta(days=int(window.removesuffix("d"))) for window in card_features.WINDOWS}
TTL = timedelta(days=40)  # the longest window and the delay fit in
KNOWN = {"driftline.delay": "7d"}
TRANSACTION = "transaction_id string, time timestamp, customer_id string, terminal_id string, amount double"
CHARGEBACK = "transaction_id string, time timestamp, terminal_id string, amount double"

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
terminal = Entity(name="terminal", join_keys=["terminal_id"], value_type=ValueType.STRING)
transaction = RequestSource(name="transaction", schema=[Field(name="time", dtype=UnixTimestamp)])


def windows(feature: str, function: str) -> list[Aggregation]:
    """The function of the amounts, in each window a feature."""
    return [
        Aggregation(name=f"{feature}_{label}", function=function, column="amount", time_window=window)
        for label, window in WINDOWS.items()
    ]


def view(
    name: str,
    entity: Entity,
    topic: str,
    fields: str,
    aggregations: list[Aggregation],
    tags: dict[str, str] | None = None,
) -> StreamFeatureView:
    """The aggregations over the topic's records, which have the `fields`, for each value of the entity."""
    schema = [Field(name=a.name, dtype=Int64 if a.function == "count" else Float64) for a in aggregations]
    return StreamFeatureView(
        name=name,
        entities=[entity],
        source=stream(name, topic, "time", fields),
        timestamp_field="time",
        schema=[Field(name=entity.join_key, dtype=String), *schema],
        aggregations=aggregations,
        ttl=TTL,
        tags=tags,
    )


customer_transactions = view(
    "customer_transactions",
    customer,
    "transactions",
    TRANSACTION,
    [*windows("count", "count"), *windows("mean_amount", "mean")],
)
terminal_transactions = view(
    "terminal_transactions",
    terminal,
    "transactions",
    TRANSACTION,
    windows("transactions", "count"),
    KNOWN,
)
terminal_frauds = view(
    "terminal_frauds", terminal, "chargebacks", CHARGEBACK, windows("frauds", "count"), KNOWN
)

calendar = OnDemandFeatureView(
    name="calendar",
    sources=[transaction],
    schema=[Field(name="weekend", dtype=Int64), Field(name="night", dtype=Int64)],
    udf=card_features.calendar,
    mode="python",
)
terminal_risk = OnDemandFeatureView(
    name="terminal_risk",
    sources=[terminal_transactions, terminal_frauds],
    schema=[Field(name=f"risk_{window}", dtype=Float64) for window in WINDOWS],
    udf=card_features.terminal_risk,
    mode="python",
)

card_fraud = FeatureService(
    name="card_fraud",
    features=[customer_transactions, terminal_transactions, terminal_frauds, calendar, terminal_risk],
)
