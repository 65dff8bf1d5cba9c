"""Is a card transaction fraudulent? Asked when it is made.

The model knows the amount and the time, what the customer paid lately, and how many of the terminal's
transactions of a week ago and before were frauds. These are the features of the Fraud Detection Handbook (Le
Borgne et al., 2022, chapter 3). What is known of a fraud comes a week after it, as does the label.
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
    """The model's view of a transaction: numbers only, and every number in every event.

    Amounts and counts are on a logarithmic scale, for their tails are long; the mean of no amounts is 0. The
    amount is there as it is too, for there are amounts so large that they alone tell, and beside what
    the customer pays on average.
    """
    amount = log1p(x["amount"])
    features = {name: log1p(x[name] or 0.0) for name in _SKEWED}
    features |= {name: x[name] for name in _PLAIN}
    features["log_amount"] = amount
    features["above_mean"] = amount - features["customer_transactions__mean_amount_30d"]
    return features


def model() -> Any:
    """Online logistic regression with a step size for each weight, as Duchi et al. (2011) have it.

    It begins with the knowledge that fraud is rare (1 in 90), since a week passes before the first label.
    Frauds weigh no more than other transactions: with ten times the weight the order was much the same, and
    the scores were no probabilities any more.

    `eps` is what AdaGrad's sum of squared gradients begins with. With River's 1e-8 the first label moves each
    weight by the whole 0.1, however small its gradient. The first labels are those of transactions whose
    windows were empty; a week later the windows hold many times as much, and the mean score went to 1.
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
