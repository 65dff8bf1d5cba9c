"""Card transactions as the three topics of the `card_fraud` example, from a file or simulated.

Schema and terms are those of the Fraud Detection Handbook (Le Borgne et al., 2022, chapter 3,
https://fraud-detection-handbook.github.io), which includes a simulator. This module has a small one with the
same schema, for tests and first tries. Findings in the Handbook's own 1,754,155 transactions, and how they
are handled:

- One table with a row for each transaction, in order of its time; ids count from 0 in the same order.
- Times have no zone, and are read as UTC: whole seconds from 2018-04-01 00:00:31 to 2018-09-30 23:59:57.
  Nobody pays in the first second of a day, and most pay around noon.
- 119,079 transactions share their second with an earlier one. In 29 cases it is the same customer and in 12
  the same terminal; the earlier one in the table is then the earlier one in the log.
- 4,990 customers (1 to 767 transactions each) and 10,000 terminals (47 to 376).
- Amounts are 0.00 to 2,628.00; 42 of them are 0.
- 14,681 transactions (0.84 %) are fraud: 0.59 % in April, when few terminals were compromised yet, and 0.87
  to 0.90 % in every later month. All 3,258 amounts above 220 are.
- The data do not say when a fraud became known. Here it is charged back after six days, and the label of
  every transaction comes after seven, as the Handbook assumes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from flows.errors import ConfigError
from flows.pipelines.dataset import TableDataset

CHARGED_BACK = pd.Timedelta(days=6)  # from a fraud to its chargeback
KNOWN = pd.Timedelta(days=7)  # from a transaction to its label
SCHEMA = pa.schema(
    [
        pa.field("TRANSACTION_ID", pa.int64(), nullable=False),
        pa.field("TX_DATETIME", pa.timestamp("s"), nullable=False),
        pa.field("CUSTOMER_ID", pa.int64(), nullable=False),
        pa.field("TERMINAL_ID", pa.int64(), nullable=False),
        pa.field("TX_AMOUNT", pa.float64(), nullable=False),
        pa.field("TX_FRAUD", pa.bool_(), nullable=False),
    ]
)

# The simulated world: a square of 100 by 100 with customers, and the terminals within their reach
CUSTOMERS, TERMINALS, DAYS = 180, 360, 60
REACH = 10.0
START = pd.Timestamp("2018-04-01")
LARGE = 220.0  # a larger amount is always fraud
EVERY = 5  # days between compromised terminals, and between compromised customers
TERMINAL_DAYS = 28  # days in which all transactions of a compromised terminal are fraud
CUSTOMER_DAYS = 14  # days in which a third of a compromised customer's transactions are fraud
_DAY = 86_400  # seconds


def records(limit: int | None = None, data: Path | None = None) -> TableDataset:
    """Return the records of the first `limit` transactions (default: all), from the file `data` or simulated.

    Chargebacks and labels come before the events of the same time. Raises `ConfigError` if the file is
    invalid.
    """
    return dataset((simulate() if data is None else read(data))[:limit])


def dataset(transactions: pd.DataFrame) -> TableDataset:
    """Return the records of transactions, sorted by time, on the three topics."""
    return TableDataset(
        {
            "chargebacks": chargebacks(transactions),
            "fraud_labels": labels(transactions),
            "transactions": events(transactions),
        },
        "transactions",
    )


def read(file: Path) -> pd.DataFrame:
    """Read the transactions of a parquet file, sorted by time, and by position in the file at equal times.

    Raises `ConfigError` unless it has the columns of `SCHEMA`, complete and convertible without loss.
    """
    needed = ", ".join(f"{field.name} ({field.type})" for field in SCHEMA)
    try:
        table = pq.read_table(file)
        table = table.select(SCHEMA.names).cast(SCHEMA)
    except (OSError, KeyError, ValueError) as error:
        reason = str(error).strip("'\"").partition("\n")[0]
        raise ConfigError(
            f"{file}: {reason}; card transactions must be a parquet file with the columns {needed}, "
            "without nulls, as in the Fraud Detection Handbook"
        ) from None
    return table.to_pandas().sort_values("TX_DATETIME", kind="stable")


def events(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return the transactions, each an event at its own time."""
    payloads = {
        "transaction_id": _text(transactions["TRANSACTION_ID"]),
        "time": _utc(transactions),
        "customer_id": _text(transactions["CUSTOMER_ID"]),
        "terminal_id": _text(transactions["TERMINAL_ID"]),
        "amount": transactions["TX_AMOUNT"],
    }
    return pd.DataFrame(payloads).set_index(_utc(transactions))


def chargebacks(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return the frauds with the time of the transaction; they reach the log when they are charged back."""
    frauds = transactions[transactions["TX_FRAUD"]]
    payloads = {
        "transaction_id": _text(frauds["TRANSACTION_ID"]),
        "time": _utc(frauds),
        "terminal_id": _text(frauds["TERMINAL_ID"]),
        "amount": frauds["TX_AMOUNT"],
    }
    return pd.DataFrame(payloads).set_index(_utc(frauds) + CHARGED_BACK)


def labels(transactions: pd.DataFrame) -> pd.DataFrame:
    """Return whether each transaction was fraud, at the time when that is known."""
    known_at = _utc(transactions) + KNOWN
    payloads = {
        "transaction_id": _text(transactions["TRANSACTION_ID"]),
        "known_at": known_at,
        "fraud": transactions["TX_FRAUD"],
    }
    return pd.DataFrame(payloads).set_index(known_at)


def simulate(seed: int = 0) -> pd.DataFrame:
    """Return about 20,000 transactions in 60 days, sorted by time: the columns of a file, and the scenario.

    Each customer has a mean amount and a mean number of transactions a day, and pays around noon at terminals
    within reach. Scenario 1: a large amount is fraud. Scenario 2: a terminal is compromised, and all its
    transactions are fraud for four weeks. Scenario 3: a customer's card is compromised, and for two weeks a
    third of its transactions are fraud, with five times the amount. A later scenario replaces an earlier one;
    0 is no fraud.
    """
    rng = np.random.default_rng(seed)
    transactions = _payments(rng).sort_values("TX_DATETIME", kind="stable", ignore_index=True)
    scenario = np.where(transactions["TX_AMOUNT"] > LARGE, 1, 0)
    day = (transactions["TX_DATETIME"] - START).dt.days.to_numpy()
    for first in range(0, DAYS, EVERY):
        scenario[_taken(rng, transactions["TERMINAL_ID"], day - first, TERMINAL_DAYS)] = 2
    for first in range(0, DAYS, EVERY):
        exposed = _taken(rng, transactions["CUSTOMER_ID"], day - first, CUSTOMER_DAYS)
        taken = rng.choice(exposed, len(exposed) // 3, replace=False)
        transactions.loc[taken, "TX_AMOUNT"] *= 5
        scenario[taken] = 3
    return transactions.assign(
        TRANSACTION_ID=np.arange(len(transactions)),
        TX_AMOUNT=transactions["TX_AMOUNT"].round(2),
        TX_FRAUD=scenario > 0,
        TX_FRAUD_SCENARIO=scenario,
    )


def _payments(rng: np.random.Generator) -> pd.DataFrame:
    """Return the transactions of honest customers."""
    homes, places = rng.uniform(0, 100, (CUSTOMERS, 2)), rng.uniform(0, 100, (TERMINALS, 2))
    near = np.hypot(*(homes[:, None] - places[None]).T).T < REACH
    mean, daily = rng.uniform(5, 100, CUSTOMERS), rng.uniform(0, 4, CUSTOMERS) * near.any(axis=1)
    customer = np.repeat(np.arange(CUSTOMERS), rng.poisson(daily * DAYS))
    day = rng.integers(DAYS, size=len(customer))
    second = rng.normal(_DAY / 2, 20_000, len(customer)).astype(int)
    amount = rng.normal(mean[customer], mean[customer] / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean[customer]), amount)
    terminal = [rng.choice(np.flatnonzero(near[each])) for each in customer]
    payments = pd.DataFrame(
        {
            "TX_DATETIME": START.as_unit("s") + pd.to_timedelta(day * _DAY + second, unit="s"),
            "CUSTOMER_ID": customer,
            "TERMINAL_ID": terminal,
            "TX_AMOUNT": amount.round(2),
        }
    )
    return payments[(second > 0) & (second < _DAY)]


def _taken(
    rng: np.random.Generator, ids: pd.Series, days: NDArray[np.int64], lasting: int
) -> NDArray[np.int64]:
    """Return the rows of one of the `ids`, drawn at random, in its first `lasting` days.

    `days` count from 0.
    """
    return np.flatnonzero((ids == rng.choice(ids.unique())) & (days >= 0) & (days < lasting))


def _utc(transactions: pd.DataFrame) -> pd.Series:
    return transactions["TX_DATETIME"].dt.tz_localize("UTC")


def _text(ids: pd.Series) -> pd.Series:
    return ids.astype(str)
