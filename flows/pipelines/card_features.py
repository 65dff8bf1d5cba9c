"""The row transforms of the `card_fraud` example, run by the flows and by Feast.

Each maps a dict of lists, with one value per row, to another. Feast passes None for a feature without a
value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

WINDOWS = ("1d", "7d", "30d")
_SATURDAY = 5
_NIGHT = 6  # the last hour of the night


def calendar(inputs: Mapping[str, Sequence[Any]]) -> dict[str, list[int]]:
    """Return whether the `time` (a datetime in UTC) is on a weekend, and whether it is at night, until 06:59.

    >>> from datetime import datetime, UTC
    >>> calendar({"time": [datetime(2018, 4, 1, 6, 59, tzinfo=UTC), datetime(2018, 4, 2, 7, 0, tzinfo=UTC)]})
    {'weekend': [1, 0], 'night': [1, 0]}
    """
    return {
        "weekend": [int(time.weekday() >= _SATURDAY) for time in inputs["time"]],
        "night": [int(time.hour <= _NIGHT) for time in inputs["time"]],
    }


def terminal_risk(inputs: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    """Return the share of frauds among the terminal's transactions in each window; 0 without transactions.

    >>> counts = {"transactions_1d": [4, 0], "transactions_7d": [8, 5], "transactions_30d": [9, 5]}
    >>> terminal_risk({**counts, "frauds_1d": [1, 0], "frauds_7d": [2, 0], "frauds_30d": [9, 0]})
    {'risk_1d': [0.25, 0.0], 'risk_7d': [0.25, 0.0], 'risk_30d': [1.0, 0.0]}
    """
    return {
        f"risk_{window}": [
            frauds / transactions if transactions and frauds else 0.0
            for frauds, transactions in zip(
                inputs[f"frauds_{window}"], inputs[f"transactions_{window}"], strict=True
            )
        ]
        for window in WINDOWS
    }
