"""The card transactions as records: synthetic or from a file, their order, and errors for a wrong file."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.decode import Decoder
from flows.errors import ConfigError
from flows.pipelines.card_fraud import pipeline
from flows.pipelines.cards_data import SCHEMA, dataset, records, simulate

DAY = 86_400_000
ORDER = ["chargebacks", "fraud_labels", "transactions"]
TRANSACTIONS = pd.DataFrame(
    {
        "TRANSACTION_ID": [0, 1, 2, 3],
        "TX_DATETIME": pd.to_datetime(
            ["2018-04-01 00:00:31", "2018-04-01 00:02:10", "2018-04-02 23:59:59", "2018-04-08 00:02:10"]
        ),
        "CUSTOMER_ID": [596, 4961, 2, 596],
        "TERMINAL_ID": [3156, 3412, 1365, 3156],
        "TX_AMOUNT": [57.16, 281.51, 0.0, 80.0],
        "TX_FRAUD": [0, 1, 0, 1],
        "TX_FRAUD_SCENARIO": [0, 1, 0, 2],
    }
)


@pytest.fixture(scope="module")
def made_up() -> pd.DataFrame:
    return simulate()


@pytest.fixture(scope="module")
def log(made_up: pd.DataFrame) -> list[Outgoing]:
    return list(dataset(made_up))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file as the Handbook makes it: naive times in nanoseconds, small whole numbers."""
    path = tmp_path / "cards.parquet"
    small = {"TRANSACTION_ID": "int32", "CUSTOMER_ID": "int32", "TERMINAL_ID": "int32", "TX_FRAUD": "int8"}
    TRANSACTIONS.astype({**small, "TX_DATETIME": "datetime64[ns]"}).to_parquet(path)
    return path


def payloads(log: list[Outgoing], topic: str) -> dict[str, dict[str, Any]]:
    loaded = [orjson.loads(record.value) for record in log if record.topic == topic]
    return {payload["transaction_id"]: payload for payload in loaded}


def test_a_transaction_of_a_file_its_chargeback_and_its_label_say_what_the_row_says(file: Path) -> None:
    log = list(records(data=file))
    assert payloads(log, "transactions")["1"] == {
        "transaction_id": "1",
        "time": "2018-04-01T00:02:10Z",
        "customer_id": "4961",
        "terminal_id": "3412",
        "amount": 281.51,
    }
    assert payloads(log, "chargebacks")["1"] == {
        "transaction_id": "1",
        "time": "2018-04-01T00:02:10Z",
        "terminal_id": "3412",
        "amount": 281.51,
    }
    known = {"transaction_id": "1", "known_at": "2018-04-08T00:02:10Z", "fraud": True}
    assert payloads(log, "fraud_labels")["1"] == known
    assert payloads(log, "fraud_labels")["0"]["fraud"] is False


def test_only_frauds_are_charged_back_and_six_days_later(file: Path) -> None:
    log = list(records(data=file))
    at = {(record.topic, record.key): record.timestamp for record in log}
    frauds = {b"1", b"3"}
    assert {key for topic, key in at if topic == "chargebacks"} == frauds
    for key in frauds:
        assert at["chargebacks", key] - at["transactions", key] == 6 * DAY
    for key in (b"0", b"1", b"2", b"3"):
        assert at["fraud_labels", key] - at["transactions", key] == 7 * DAY


def test_a_file_in_another_order_gives_the_same_records(file: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled.parquet"
    TRANSACTIONS.iloc[[2, 0, 3, 1]].to_parquet(shuffled)
    assert list(records(data=shuffled)) == list(records(data=file))


def test_a_limit_takes_the_first_transactions_with_all_that_becomes_of_them(file: Path) -> None:
    limited = records(2, file)
    log = list(limited)
    assert (limited.events, len(limited)) == (2, 5)
    assert Counter(record.topic for record in log) == {"transactions": 2, "chargebacks": 1, "fraud_labels": 2}
    assert {record.key for record in log} == {b"0", b"1"}
    assert log == list(limited)


def without(column: str) -> pd.DataFrame:
    return TRANSACTIONS.drop(columns=column)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        *[(without(column), column) for column in SCHEMA.names],
        (TRANSACTIONS.assign(TX_AMOUNT="much"), "much"),
        (TRANSACTIONS.assign(TX_DATETIME="yesterday"), "yesterday"),
        (TRANSACTIONS.assign(TERMINAL_ID=[1.5, 2.0, 3.0, 4.0]), "1.5"),
        (TRANSACTIONS.assign(TX_AMOUNT=[1.0, None, 3.0, 4.0]), "TX_AMOUNT"),
        (
            TRANSACTIONS.assign(TX_DATETIME=TRANSACTIONS["TX_DATETIME"] + pd.Timedelta(milliseconds=1)),
            "timestamp",
        ),
    ],
)
def test_a_file_with_wrong_columns_is_told_which_are_needed(
    tmp_path: Path, table: pd.DataFrame, said: str
) -> None:
    table.to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(ConfigError) as error:
        records(data=tmp_path / "wrong.parquet")
    reason, _, needed = str(error.value).partition(";")
    assert "wrong.parquet" in reason
    assert said in reason
    assert "\n" not in str(error.value)
    assert all(f"{field.name} ({field.type})" in needed for field in SCHEMA)


@pytest.mark.parametrize("content", [None, b"", b"transaction_id,amount\n1,5\n"])
def test_a_missing_file_and_one_of_another_kind_are_told_what_is_needed(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "cards.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cards\.csv.*a parquet file with the columns TRANSACTION_ID"):
        records(data=file)


def test_the_pipeline_takes_the_file_of_the_command(file: Path) -> None:
    assert pipeline.load_dataset(3, file).events == 3


def test_what_is_made_up_is_the_same_each_time_and_another_with_another_seed(made_up: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(simulate(), made_up)
    assert not simulate(1)["TX_AMOUNT"].equals(made_up["TX_AMOUNT"])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_made_up_has_the_handbook_s_shape(seed: int) -> None:
    table = simulate(seed)
    times = table["TX_DATETIME"]
    assert 15_000 < len(table) < 25_000
    assert 0.005 < table["TX_FRAUD"].mean() < 0.04
    assert times.is_monotonic_increasing
    assert (times.min().date(), times.max().date()) == (
        pd.Timestamp("2018-04-01").date(),
        pd.Timestamp("2018-05-30").date(),
    )
    assert table["TRANSACTION_ID"].tolist() == list(range(len(table)))
    assert table["TX_AMOUNT"].ge(0).all()
    assert (
        times.dt.hour.between(6, 17).mean() > 0.6
    )  # a normal day: two thirds are within a deviation of noon
    assert (times.dt.floor("s") == times).all()


@pytest.mark.parametrize("seed", range(3))
def test_each_scenario_is_there_and_is_what_it_says(seed: int) -> None:
    table = simulate(seed)
    scenario = table["TX_FRAUD_SCENARIO"]
    assert (table["TX_FRAUD"] == (scenario > 0)).all()
    assert set(scenario) == {0, 1, 2, 3}
    assert table["TX_FRAUD"][table["TX_AMOUNT"] > 220].all()
    assert (table["TX_AMOUNT"][scenario == 1] > 220).all()
    honest = table[scenario == 0].groupby("CUSTOMER_ID")["TX_AMOUNT"].mean()
    stolen = table[scenario == 3]
    assert (stolen["TX_AMOUNT"] / stolen["CUSTOMER_ID"].map(honest)).median() > 3


def test_all_that_is_paid_at_a_compromised_terminal_is_fraud_for_four_weeks(made_up: pd.DataFrame) -> None:
    day = (made_up["TX_DATETIME"] - pd.Timestamp("2018-04-01")).dt.days
    for terminal, frauds in made_up[made_up["TX_FRAUD_SCENARIO"] == 2].groupby("TERMINAL_ID"):
        first = day[frauds.index].min()
        begins = [start for start in range(0, 60, 5) if start <= first < start + 28]
        here = made_up["TERMINAL_ID"] == terminal
        assert any(made_up["TX_FRAUD"][here & day.between(start, start + 27)].all() for start in begins)


def test_every_record_is_valid_as_the_pipeline_declares_it(log: list[Outgoing]) -> None:
    streams = (pipeline.events, pipeline.labels, *pipeline.sources)
    decoders = {stream.topic: Decoder(stream.id, stream.time, stream.fields) for stream in streams}
    for record in log[::7]:
        at = record.timestamp
        decoded = decoders[record.topic].decode(Record(record.topic, 0, 0, at, record.key, record.value, ()))
        assert decoded.id.encode() == record.key
        assert decoded.time == at - (6 * DAY if record.topic == "chargebacks" else 0)
        declared = next(stream for stream in streams if stream.topic == record.topic).fields
        assert set(decoded.payload) == set(declared)


def test_records_are_in_the_order_of_the_log_and_what_is_known_comes_before_the_question(file: Path) -> None:
    log = list(records(data=file))
    positions = [(record.timestamp, ORDER.index(record.topic)) for record in log]
    assert positions == sorted(positions)
    ties = {(a.topic, b.topic) for a, b in pairwise(log) if a.timestamp == b.timestamp}
    assert ("fraud_labels", "transactions") in ties


def test_nothing_is_lost_or_told_twice(made_up: pd.DataFrame, log: list[Outgoing]) -> None:
    times = [record.timestamp for record in log]
    assert times == sorted(times)
    assert len(log) == len(dataset(made_up))
    assert Counter(record.topic for record in log) == {
        "transactions": len(made_up),
        "chargebacks": made_up["TX_FRAUD"].sum(),
        "fraud_labels": len(made_up),
    }
    assert len({(record.topic, record.key) for record in log}) == len(log)
