"""Twelve windows on two entities as a pipeline, with a model that has learned already."""

import random
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from river import linear_model, preprocessing

from flows.core.stream.fields import Flag, Number, Text, Time
from flows.pipeline import Pipeline, Stream

TRAINED_ON = 1_000  # events
VIEWS = ("customer_transactions", "terminal_transactions")
NAMES = tuple(
    f"{view}__{function}_{days}d" for view in VIEWS for days in (1, 7, 30) for function in ("count", "mean")
)


def prepare(x: Mapping[str, Any]) -> dict[str, float]:
    """Return the features with 0 for the mean of an empty window."""
    return {name: value or 0.0 for name, value in x.items()}


def model() -> Any:
    """Return the model after it has learned random features, so that it has a weight for each."""
    found = prepare | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for x in _random_features():
        found.learn_one(x, x["amount"] > 100)
    return found


@cache
def _random_features() -> tuple[dict[str, float], ...]:
    draw = random.Random(1)  # noqa: S311  the same each time
    return tuple({name: draw.uniform(0, 200) for name in ("amount", *NAMES)} for _ in range(TRAINED_ON))


pipeline = Pipeline(
    name="windows",
    events=Stream(
        "transactions",
        id="transaction_id",
        time="at",
        fields={
            "transaction_id": Text(),
            "at": Time(),
            "customer_id": Text(),
            "terminal_id": Text(),
            "amount": Number(0, 1e6),
            "fraud": Flag(),
        },
    ),
    labels=Stream(
        "transaction_labels",
        id="transaction_id",
        time="known_at",
        fields={"transaction_id": Text(), "known_at": Time(), "fraud": Flag()},
    ),
    target="fraud",
    entities=("customer_id", "terminal_id"),
    service="windows",
    inputs=("amount",),
    model=model,
    lateness=timedelta(hours=3),
    label_wait=timedelta(days=14),
)
