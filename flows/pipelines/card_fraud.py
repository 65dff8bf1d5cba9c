"""Is a card transaction fraudulent? Predicted when it is made.

The model knows the amount and the time, what the customer paid recently, and how many of the terminal's
transactions at least a week ago were frauds. These are the features of the Fraud Detection Handbook (Le
Borgne et al., 2022, chapter 3). A fraud becomes known after a week, and so does its label.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import log1p
from typing import Any

from river import linear_model, optim, preprocessing

from flows import Flag, Number, Pipeline, Stream, Text, Time
from flows.core.stream.fields import Field
from flows.pipelines.card_features import WINDOWS

_SKEWED = [f"customer_transactions__{of}_{window}" for of in ("count", "mean_amount") for window in WINDOWS]
_SKEWED += [f"terminal_transactions__transactions_{window}" for window in WINDOWS]
_PLAIN = ["amount", "calendar__weekend", "calendar__night"]
_PLAIN += [f"terminal_risk__risk_{window}" for window in WINDOWS]


def prepare(x: Mapping[str, Any]) -> dict[str, float]:
    """Return the model's features of a transaction: only numbers, and none missing.

    Amounts and counts are on a logarithmic scale because of their long tails; the mean of no amounts is 0.
    The amount is also included unchanged, because the largest ones alone indicate fraud, and relative to the
    customer's mean.
    """
    amount = log1p(x["amount"])
    features = {name: log1p(x[name] or 0.0) for name in _SKEWED}
    features |= {name: x[name] for name in _PLAIN}
    features["log_amount"] = amount
    features["above_mean"] = amount - features["customer_transactions__mean_amount_30d"]
    return features


def model() -> Any:
    """Return online logistic regression with a step size for each weight (Duchi et al., 2011).

    The intercept starts at the rate of frauds (1 in 90), because the first label comes after a week. Frauds
    have no extra weight: ten times the weight hardly changed the ranking, and the scores were no longer
    probabilities.

    `eps` is the initial value of AdaGrad's sum of squared gradients. With River's 1e-8, the first label moves
    each weight by the whole 0.1, however small its gradient. The first labels belong to transactions with
    empty windows; a week later the features are many times larger, and the mean score went to 1.
    """
    optimizer = optim.AdaGrad(0.1, eps=10.0)
    regression = linear_model.LogisticRegression(optimizer, intercept_init=-4.5, intercept_lr=0.01)
    return prepare | preprocessing.StandardScaler() | regression


_TRANSACTION: dict[str, Field] = {
    "transaction_id": Text(),
    "time": Time(),
    "terminal_id": Text(),
    "amount": Number(0, 1e6),
}

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
    label_wait=timedelta(days=14),
    dataset="flows.pipelines.cards_data:records",
)
