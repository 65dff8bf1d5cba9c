"""Is a card transaction fraudulent? Asked when it is made.

The model knows the amount and the time, what the customer paid lately, and how many of the terminal's
transactions of a week ago and before were frauds. These are the features of the Fraud Detection Handbook (Le
Borgne et al., 2022, chapter 3). What is known of a fraud comes a week after it, as does the label.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import log1p
from typing import Any

from river import linear_model, metrics, optim, preprocessing

from flows.core.schema import Flag, Number, Text, Time
from flows.pipeline import Pipeline, Stream
from flows.pipelines.card_features import WINDOWS

_COUNTS = [f"customer_transactions__count_{window}" for window in WINDOWS]
_COUNTS += [f"terminal_transactions__transactions_{window}" for window in WINDOWS]
_MEANS = [f"customer_transactions__mean_amount_{window}" for window in WINDOWS]
_RISKS = [f"terminal_risk__risk_{window}" for window in WINDOWS]


def prepare(x: Mapping[str, Any]) -> dict[str, float]:
    """The model's view of a transaction: numbers only, amounts and counts on a logarithmic scale."""
    amount = log1p(x["amount"])
    features = {"amount": amount, "weekend": x["calendar__weekend"], "night": x["calendar__night"]}
    for name in _COUNTS:
        features[name] = log1p(x[name])
    for name in _MEANS:
        features[name] = log1p(x[name])
    for name in _RISKS:
        features[name] = x[name]
    return features


def model() -> Any:
    regression = linear_model.LogisticRegression(optim.AdaGrad(0.05), intercept_lr=0.0015)
    return prepare | preprocessing.StandardScaler() | regression


def measures() -> Any:
    return metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss() + metrics.RollingPRAUC(window_size=10_000)


_TRANSACTION = {"transaction_id": Text(), "time": Time(), "terminal_id": Text(), "amount": Number(0, 1e6)}

pipeline = Pipeline(
    name="card_fraud",
    events=Stream("transactions", "transaction_id", "time", {**_TRANSACTION, "customer_id": Text()}),
    sources=(Stream("chargebacks", "transaction_id", "time", _TRANSACTION),),
    labels=Stream(
        "fraud_labels",
        "transaction_id",
        "known_at",
        {"transaction_id": Text(), "known_at": Time(), "fraud": Flag()},
    ),
    target="fraud",
    entities=("customer_id", "terminal_id"),
    service="card_fraud",
    inputs=("amount",),
    model=model,
    metrics=measures,
    label_wait=timedelta(days=14),
    dataset="flows.pipelines.cards_data:records",
)
