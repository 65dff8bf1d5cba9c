"""Backfill: parquet files as the records of topics, and the features computed from them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.adapters.parquet.records import ParquetRecords
from flows.core.features.batch import Row
from flows.core.features.engine import FeatureEngine
from flows.core.features.plan import Aggregate, FeaturePlan, Output, Transform, View
from flows.core.features.transforms import Transformer
from flows.core.serving.served_rows import ServedRow
from flows.core.stream.broker import Record
from flows.core.stream.fields import Flag, Key, Number, Text, Time
from flows.core.stream.times import iso
from flows.errors import ConfigError
from flows.jobs import backfill
from flows.jobs.backfill import Backfill
from flows.jobs.history import FileHistory
from flows.pipeline import Pipeline, Stream

NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z
MINUTE, HOUR = 60_000, 3_600_000
SALES = Stream(
    "sales",
    "id",
    "at",
    {"id": Text(), "at": Time(), "shop": Text(), "price": Number(), "gift": Flag(required=False)},
)
ORDERS = Stream("orders", "id", "at", {"id": Text(), "at": Time(), "shop": Text(required=False)})
PIPELINE = Pipeline(
    "shops",
    ORDERS,
    Stream("labels", "id", "at", {"id": Text(), "at": Time(), "bad": Flag()}),
    "bad",
    ("shop",),
    "s",
    model=lambda: None,
    sources=(SALES,),
)
AGGREGATES = (Aggregate("n", "count", "", HOUR, "int"), Aggregate("mean", "mean", "price", HOUR))
PLAN = FeaturePlan("s", (View("sales_1h", "shop", "sales", AGGREGATES),), lateness=HOUR)


def sale(number: int, time: int, **changes: object) -> dict:
    return {"id": f"S{number}", "at": iso(time), "shop": "A", "price": 1.5 * number} | changes


def written(rows: Sequence[dict], file: Path, **types: pa.DataType) -> Path:
    table = pa.Table.from_pylist(rows)
    for name, dtype in types.items():
        table = table.set_column(
            table.column_names.index(name), name, pa.array([r[name] for r in rows], dtype)
        )
    pq.write_table(table, file, row_group_size=4)
    return file


def records_of(rows: Sequence[dict], folder: Path, partitions: int = 1, **types: pa.DataType) -> list[Record]:
    return list(ParquetRecords(written(rows, folder / "sales.parquet", **types), SALES, partitions))


# Parquet files as records


def test_a_row_is_a_record_with_its_fields_its_key_and_the_event_time(tmp_path):
    rows = [sale(n, NOON + n, gift=None if n else True, undeclared=7) for n in range(3)]
    records = records_of(rows, tmp_path)
    assert [orjson.loads(r.value) for r in records] == [
        {"id": f"S{n}", "at": iso(NOON + n), "shop": "A", "price": 1.5 * n, "gift": None if n else True}
        for n in range(3)
    ]
    assert [r[:5] for r in records] == [("sales", 0, n, NOON + n, f"S{n}".encode()) for n in range(3)]


@pytest.mark.parametrize(
    "dtype",
    [pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC", "America/New_York")],
    ids=str,
)
def test_a_timestamp_column_becomes_iso_8601(tmp_path, dtype):
    moments = [datetime.fromtimestamp((NOON + n) / 1000, UTC) for n in range(3)]
    rows = [sale(n, 0, at=moment) for n, moment in enumerate(moments)]
    if dtype.tz is None:
        rows = [row | {"at": row["at"].replace(tzinfo=None)} for row in rows]
    records = records_of(rows, tmp_path, at=dtype)
    assert [r.timestamp for r in records] == [NOON, NOON + 1, NOON + 2]
    assert [datetime.fromisoformat(orjson.loads(r.value)["at"]) for r in records] == moments


def test_milliseconds_stay_what_they_are(tmp_path):
    (record,) = records_of([sale(1, 0, at=NOON)], tmp_path)
    assert (record.timestamp, orjson.loads(record.value)["at"]) == (NOON, NOON)


def test_a_column_timestamp_is_that_of_the_records(tmp_path):
    rows = [sale(n, NOON - n * HOUR, timestamp=NOON + n) for n in range(10)]
    assert [r.timestamp for r in records_of(rows, tmp_path)] == [NOON + n for n in range(10)]


@pytest.mark.parametrize("column", ["text", "number", "timestamp"])
def test_a_file_is_read_in_the_order_of_its_timestamps_and_equal_ones_in_that_of_the_file(tmp_path, column):
    times = [NOON + (n * 7919) % 50 * MINUTE for n in range(200)]
    given = {
        "text": lambda time: datetime.fromtimestamp(time / 1000, UTC).isoformat(),
        "number": lambda time: time,
        "timestamp": lambda time: datetime.fromtimestamp(time / 1000, UTC),
    }[column]
    records = records_of([sale(n, 0, at=given(time)) for n, time in enumerate(times)], tmp_path)
    order = sorted(range(200), key=lambda n: times[n])
    assert [(r.offset, r.timestamp, r.key) for r in records] == [
        (n, times[n], f"S{n}".encode()) for n in order
    ]


def test_times_with_offsets_are_sorted_by_the_moment(tmp_path):
    rows = [sale(0, 0, at="2013-01-01T12:00:00+00:00"), sale(1, 0, at="2013-01-01T12:30:00+02:00")]
    assert [r.offset for r in records_of(rows, tmp_path)] == [1, 0]


def test_a_file_in_order_is_not_sorted(tmp_path, monkeypatch):
    monkeypatch.setattr(duckdb, "connect", None)
    assert len(records_of([sale(n, NOON + n // 2) for n in range(20)], tmp_path)) == 20


def test_rows_without_a_time_stay_records_so_that_they_become_dead_letters(tmp_path):
    rows = [sale(0, NOON), sale(1, NOON, at=None), sale(2, NOON, at="yesterday")]
    assert sorted(r.timestamp for r in records_of(rows, tmp_path)) == [0, 0, NOON]


def test_a_record_has_the_partition_that_a_producer_would_choose(tmp_path):
    records = records_of([sale(n, NOON + n) for n in range(50)], tmp_path, partitions=4)
    assert [r.partition for r in records] == [crc32(r.key) % 4 for r in records]
    assert {r.partition for r in records} == {0, 1, 2, 3}


ODD = Stream(
    "odd",
    "id",
    "at",
    {"id": Key(), "at": Time(unit="s"), "shop": Key(kind="integer"), "paid": Flag(true="Y", false="N")},
)


@pytest.mark.parametrize("scale", [1, 0.5])
def test_keys_that_are_integers_and_times_in_seconds_are_read_and_sorted(tmp_path, scale):
    rows = [{"id": n, "at": NOON // 1000 - n * scale, "shop": 2**53 + n, "paid": "Y"} for n in range(3)]
    records = list(ParquetRecords(written(rows, tmp_path / "odd.parquet"), ODD, 1))
    assert [r.key for r in records] == [b"2", b"1", b"0"]
    assert [r.timestamp for r in records] == [NOON - round(n * scale * 1000) for n in (2, 1, 0)]
    decoded = [ODD.decoder().decode(record) for record in records]
    assert [(d.id, d.time, d.payload["shop"], d.payload["paid"]) for d in decoded] == [
        (str(n), NOON - round(n * scale * 1000), 2**53 + n, True) for n in (2, 1, 0)
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 1.5}, "column 'id' must be Key, as topic .*, got double"),
        ({"shop": "7"}, "column 'shop' must be Key, as topic .*, got string"),
        ({"paid": True}, "column 'paid' must be Flag, as topic .*, got bool"),
        ({"paid": 1}, "column 'paid' must be Flag, as topic .*, got int64"),
    ],
)
def test_columns_that_cannot_be_such_fields_are_refused(tmp_path, row, said):
    file = written([{"id": "a", "at": NOON / 1000, "shop": 1, "paid": "N"} | row], tmp_path / "odd.parquet")
    with pytest.raises(ConfigError, match=said):
        ParquetRecords(file, ODD, 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"price": None},
            r"column 'price' is missing, .* 'sales' declares; add it \(the columns are id, at, shop",
        ),
        ({"price": "9"}, "column 'price' must be Number, as topic 'sales' declares it, got string"),
        ({"id": 9}, "column 'id' must be Text, as topic .*, got int64"),
        ({"gift": 1}, "column 'gift' must be Flag, as topic .*, got int64"),
        ({"at": True}, "column 'at' must be Time, as topic .*, got bool"),
        ({"timestamp": 0.5}, "column 'timestamp' must be timestamps or milliseconds, got double"),
    ],
)
def test_columns_that_cannot_be_the_fields_are_refused(tmp_path, row, said):
    changed = sale(1, NOON) | row
    file = written([{k: v for k, v in changed.items() if v is not None}], tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=said):
        ParquetRecords(file, SALES, 1)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["sales.parquet"], "argument must be TOPIC=FILE.parquet, got 'sales.parquet'"),
        (["labels=sales.parquet"], r"must be an input of the features \(sales, orders\), got 'labels'"),
        (["sales=nowhere.parquet"], "file 'nowhere.parquet' does not exist"),
        (["sales=text.parquet"], "text.parquet cannot be read as parquet"),
        (["sales=sales.parquet", "sales=sales.parquet"], "topic 'sales' must be given once"),
    ],
)
def test_files_that_cannot_be_a_history_are_refused(tmp_path, monkeypatch, files, said):
    monkeypatch.chdir(tmp_path)
    written([sale(1, NOON)], Path("sales.parquet"))
    Path("text.parquet").write_text("no parquet")
    with pytest.raises(ConfigError, match=said):
        FileHistory(files, PIPELINE)


def test_a_file_that_breaks_off_is_one_error(tmp_path):
    file = written([sale(n, NOON + n) for n in range(5000)], tmp_path / "x.parquet")
    whole = bytearray(file.read_bytes())
    whole[4 : len(whole) // 2] = bytes(len(whole) // 2 - 4)
    file.write_bytes(whole)
    with pytest.raises(ConfigError, match=r"x\.parquet cannot be read as parquet"):
        list(ParquetRecords(file, SALES, 1))


def test_at_equal_times_the_sources_of_several_files_come_before_the_events(tmp_path):
    sales = written([sale(n, NOON + n * HOUR) for n in range(3)], tmp_path / "sales.parquet")
    orders = written(
        [{"id": f"O{n}", "at": iso(NOON + n * HOUR), "shop": "A"} for n in range(3)], tmp_path / "o.parquet"
    )
    history = FileHistory([f"orders={orders}", f"sales={sales}"], PIPELINE)
    assert [r.key for r in history] == [b"S0", b"O0", b"S1", b"O1", b"S2", b"O2"]
    assert (len(history), history.ends) == (6, {})


# What a backfill makes of records


class Stores:
    """Records the writes of a backfill, instead of Feast's stores."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.served: list[ServedRow] = []
        self.newest: dict[tuple[str, str], Row] = {}
        self.writes = 0

    def append(self, rows: Iterable[Row], created: int, served: Iterable[ServedRow]) -> None:
        self.rows += rows
        self.served += served

    def write(self, rows: Iterable[Row]) -> int:
        rows = list(rows)
        for row in rows:
            known = self.newest.get((row.view, row.key))
            if known is None or row.time >= known.time:
                self.newest[row.view, row.key] = row
        self.writes += 1
        return len(rows)


def engine(slots: int = 1) -> FeatureEngine:
    return FeatureEngine(
        [PIPELINE.intake(PLAN) for _ in range(slots)], PLAN, Transformer(PLAN, {}), "shops.dead-letters"
    )


def filled(records: Sequence[Record], slots: int = 1) -> tuple[Backfill, Stores]:
    stores = Stores()
    filling = Backfill(engine(slots), PLAN, stores, stores)
    assert sum(filling.run(records)) == len(records)
    return filling, stores


def record(topic: str, offset: int, time: int, partition: int = 0, **payload: object) -> Record:
    value = orjson.dumps({"at": time, "shop": "A"} | payload)
    return Record(topic, partition, offset, time, None, value, ())


def trade(number: int, shops: Sequence[str] = ("A", "B")) -> list[Record]:
    """A sale a minute and an order after every third."""
    records = []
    for n in range(number):
        of = {"partition": n % 2, "shop": shops[n % len(shops)]}
        records.append(record("sales", n, NOON + n * MINUTE, id=f"S{n}", price=n % 10, **of))
        if n % 3 == 0:
            records.append(record("orders", n, NOON + n * MINUTE + 1, id=f"O{n}", **of))
    return records


def expected(records: Sequence[Record]) -> list[ServedRow]:
    """What each order gets: the number and the mean of the sales of its shop in the hour up to it."""
    payloads = [(r.topic, orjson.loads(r.value)) for r in records]
    served = []
    for topic, order in payloads:
        if topic == "orders":
            prices = [
                p["price"]
                for t, p in payloads
                if t == "sales" and p["shop"] == order["shop"] and 0 <= order["at"] - p["at"] < HOUR
            ]
            mean = sum(prices) / len(prices) if prices else None
            served.append(ServedRow("sales_1h", order["shop"], 1000 * order["at"] + 1, [len(prices), mean]))
    return served


@pytest.mark.parametrize("slots", [1, 2])
def test_each_question_is_served_what_a_full_recomputation_gives(slots):
    records = trade(2500)
    _, stores = filled(records, slots)
    assert stores.served == expected(records)


def test_the_newest_row_of_each_entity_goes_online_whatever_is_kept_meanwhile(monkeypatch):
    records = trade(2500, [f"shop-{n}" for n in range(40)])
    at_once, stores = filled(records)
    monkeypatch.setattr(backfill, "_ONLINE_ROWS", 20)
    monkeypatch.setattr(backfill, "_OFFLINE_ROWS", 7)
    piecewise, others = filled(records)
    assert (stores.writes, at_once.written["online"]) == (1, 40)
    assert others.writes > 2
    assert others.newest == stores.newest
    assert (others.rows, others.served) == (stores.rows, stores.served)
    assert piecewise.written["offline"] == at_once.written["offline"] == len(stores.rows) + len(stores.served)


def test_dead_letters_are_counted_by_reason_and_the_first_of_each_is_told():
    records = trade(400)
    bad = [Record("sales", 0, 900 + n, NOON + HOUR, None, b"?", ()) for n in range(3)]
    records[100:100] = [*bad, records[0]]
    filling, _ = filled(records)
    line, *first = filling.summary(2.0)
    assert line.startswith("538 records, 4 dead letters (3 not-json, 1 duplicate), ")
    assert line.endswith(" 2 entities known at the end, 2.0 s")
    assert first[0].startswith("the first not-json: sales, partition 0, offset 900: ")
    assert first[1].startswith("the first duplicate: sales, partition 0, offset 0: ")


def test_a_transform_that_fails_on_every_order_is_shown_with_its_line():
    plan = replace(PLAN, transforms=(Transform("risk", "m:risk", "0", (), (), (Output("share", "float"),)),))

    def risk(_):
        return {"share": itmes}  # noqa: F821 (the typo that the test is about)

    engine = FeatureEngine(
        [PIPELINE.intake(plan)], plan, Transformer(plan, {"risk": risk}), "shops.dead-letters"
    )
    filling = Backfill(engine, plan, Stores(), Stores())
    list(filling.run(trade(40)))
    assert filling.dead.number["transform"] == 14
    *_, shown = filling.summary(2.0)
    place = f"line {risk.__code__.co_firstlineno + 1}, in risk"
    assert f"NameError: name 'itmes' is not defined (test_backfill.py, {place})" in "".join(
        filling.summary(2.0)
    )
    assert shown.startswith("the first error of your own code:\nTraceback (most recent call last):\n")
    assert f'test_backfill.py", {place}\n' in shown
    assert not filling.failed  # what the orders' sources say is written all the same


def test_a_backfill_of_which_no_record_can_be_used_has_failed():
    filling, _ = filled([Record("sales", 0, n, NOON, None, b"?", ()) for n in range(3)])
    assert filling.failed
    assert not filled([])[0].failed


def test_entities_that_are_idle_are_forgotten():
    shops = [f"shop-{n}" for n in range(500)]
    busy, _ = filled(trade(500, shops))
    assert 100 < len(busy.engine) < 250  # those of an hour's window, the lateness and a bucket of it
    names = [name for name, _ in busy.engine.entities()]
    assert names[-1] == "shop=shop-499"
    assert "shop=shop-0" not in names


def test_an_order_without_a_shop_is_served_nothing():
    _, stores = filled([record("orders", 0, NOON, id="O1", shop=None)])
    assert stores.served == []
