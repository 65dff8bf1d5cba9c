"""Is a card transaction fraudulent? Predicted when it is made.

The model knows the amount and the time, what the customer paid recently, and how many of the terminal's
transactions at least a week ago were frauds. These are the features of the Fraud Detection Handbook (Le
Borgne et al., 2022, chapter 3). A fraud becomes known after a week, and so does its label.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import log1p
from typing import Any

from river import compose, linear_model, optim, preprocessing

from flows import Flag, Number, Pipeline, RetrainPolicy, Search, Stream, Text, Time
from flows.core.stream.fields import Field
from flows.pipelines.card_features import WINDOWS

_SKEWED = [f"customer_transactions__{of}_{window}" for of in ("count", "mean_amount") for window in WINDOWS]
_SKEWED += [f"terminal_transactions__transactions_{window}" for window in WINDOWS]
_WIDTHS = (("1d", 1, 1), ("7d", 4, 2), ("30d", 15, 5))  # of the bins of counts, by window
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


def bins(x: Mapping[str, Any]) -> dict[str, float]:
    """Return the bins of the transaction, alone and in pairs, each as a 1.

    With a weight for each bin, a sum of weights can have any shape. The pairs tell apart what no sum does: a
    terminal with frauds only, which is compromised now, and one with frauds among good transactions, which
    was before; and a large amount of a customer with small ones.
    """
    amount = log1p(x["amount"])
    dollars = min(int(x["amount"] // 20), 20)
    found = {"log amount": round(4 * amount), "amount": dollars}
    found["night"], found["weekend"] = x["calendar__night"], x["calendar__weekend"]
    above = {}
    for window, count_width, terminal_width in _WIDTHS:
        mean = log1p(x[f"customer_transactions__mean_amount_{window}"] or 0.0)
        above[window] = round(4 * (amount - mean))
        found[f"mean {window}"] = round(4 * mean)
        found[f"above mean {window}"] = _within(above[window], 12)
        found[f"count {window}"] = x[f"customer_transactions__count_{window}"] // count_width
        frauds, transactions = _terminal(x, window)
        found[f"frauds {window}"] = min(frauds, 20)
        found[f"transactions {window}"] = transactions // terminal_width
        found[f"risk {window}"] = round(10 * x[f"terminal_risk__risk_{window}"])
    day = _pair(*(min(number, 4) for number in _terminal(x, "1d")))
    frauds, transactions = _terminal(x, "7d")
    week = _pair(min(frauds, 9), min(transactions - frauds, 9))
    high = _within(above["30d"], 10)
    found["terminal's day"], found["terminal's week"] = day, week
    found["terminal's day and week"] = _pair(day, _pair(min(frauds, 5), min(transactions - frauds, 5)))
    found["terminal's month and week"] = _pair(min(_terminal(x, "30d")[0], 20), min(frauds, 9))
    found["above mean and amount"] = _pair(high, dollars)
    found["above mean and week"] = _pair(high, _within(above["30d"] - above["7d"], 6))
    found["above mean and count"] = _pair(high, min(x["customer_transactions__count_1d"], 6))
    found["amount and count"] = _pair(dollars, x["customer_transactions__count_30d"] // 20)
    return {f"{name} {place}": 1.0 for name, place in found.items()}


def _terminal(x: Mapping[str, Any], window: str) -> tuple[int, int]:
    """Return the terminal's frauds and transactions in a window."""
    return x[f"terminal_frauds__frauds_{window}"], x[f"terminal_transactions__transactions_{window}"]


def _within(place: int, limit: int) -> int:
    return max(-limit, min(place, limit))


def _pair(first: int, second: int) -> int:
    return first * 10_000 + second


def binned(rate: float = 0.05) -> Any:
    """Return `model` with a further weight for each bin; the initial `eps` keeps the first steps small."""
    optimizer = optim.AdaGrad(rate, eps=1.0)
    regression = linear_model.LogisticRegression(optimizer, intercept_init=-4.5, intercept_lr=0.01)
    scaled = compose.Pipeline(prepare, preprocessing.StandardScaler())
    return (scaled + compose.FuncTransformer(bins)) | regression


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
    # a block of the contest has five frauds, and a trial too few
    retrain=RetrainPolicy(
        block=500,
        trial=0,
        schedule=timedelta(days=28),
        window=timedelta(days=14),
        search=Search({"linear": model, "binned": binned}, {"binned": {"rate": (0.02, 0.05, 0.1)}}),
    ),
    label_wait=timedelta(days=14),
    dataset="flows.pipelines.cards_data:records",
)
