"""The row transforms of the `card_fraud` example, run by the flows and by Feast alike.

Each takes a dict of lists, one value for each row, and gives one. Feast asks for a feature with None where it
has no value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flows.core.schema import milliseconds

WINDOWS = ("1d", "7d", "30d")
_HOUR, _DAY = 3_600_000, 86_400_000  # milliseconds
_THURSDAY = 3  # 1 January 1970, with Monday as 0


def calendar(inputs: Mapping[str, Sequence[Any]]) -> dict[str, list[int]]:
    """Whether the `time` of a transaction, in UTC, is on a weekend, and at night: until 06:59.

    >>> calendar({"time": ["2018-04-01T06:59:59Z", "2018-04-02T07:00:00Z"]})
    {'weekend': [1, 0], 'night': [1, 0]}
    """
    times = [milliseconds(time) for time in inputs["time"]]
    return {
        "weekend": [int((time // _DAY + _THURSDAY) % 7 >= 5) for time in times],
        "night": [int(time % _DAY // _HOUR <= 6) for time in times],
    }


def terminal_risk(inputs: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    """The share of frauds among the transactions of the terminal in each window; 0 where there were none.

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
