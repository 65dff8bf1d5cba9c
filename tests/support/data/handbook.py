"""The features of the Fraud Detection Handbook, computed with pandas as in the book."""

from typing import Any

import numpy as np
import pandas as pd

DELAY = 7  # days until a fraud is known
WINDOWS = (1, 7, 30)  # days


def features(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return all features of each transaction, in the order of the table, which is sorted by time."""
    transactions = transactions.reset_index(drop=True)
    times = transactions["TX_DATETIME"].dt
    columns: dict[str, Any] = {"amount": transactions["TX_AMOUNT"]}
    for days in WINDOWS:
        amounts = _windows(transactions, "CUSTOMER_ID", "TX_AMOUNT", days)
        near, all_of = (_windows(transactions, "TERMINAL_ID", "TX_FRAUD", d) for d in (DELAY, DELAY + days))
        counts = _by_row(all_of.count() - near.count(), transactions, "TERMINAL_ID")
        frauds = _by_row(all_of.sum() - near.sum(), transactions, "TERMINAL_ID")
        columns |= {
            f"customer_transactions__count_{days}d": _by_row(amounts.count(), transactions, "CUSTOMER_ID"),
            f"customer_transactions__mean_amount_{days}d": _by_row(
                amounts.mean(), transactions, "CUSTOMER_ID"
            ),
            f"terminal_transactions__transactions_{days}d": counts,
            f"terminal_frauds__frauds_{days}d": frauds,
            f"terminal_risk__risk_{days}d": np.divide(
                frauds, counts, out=np.zeros(len(counts)), where=counts > 0
            ),
        }
    columns["calendar__weekend"] = (times.weekday >= 5).astype(int)
    columns["calendar__night"] = (times.hour <= 6).astype(int)
    return pd.DataFrame(columns)


def _windows(transactions: pd.DataFrame, key: str, column: str, days: int) -> Any:
    """Return rolling windows of `days` over the column, within each customer or terminal."""
    return transactions.set_index("TX_DATETIME").groupby(key)[column].rolling(f"{days}D")


def _by_row(grouped: pd.Series, transactions: pd.DataFrame, key: str) -> np.ndarray:
    """Return grouped values in the order of the transactions."""
    values = np.empty(len(transactions))
    values[np.concatenate([rows.index for _, rows in transactions.groupby(key)])] = grouped
    return values
