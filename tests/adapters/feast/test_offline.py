import fcntl
import os
import random
import shutil
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import SHIPPED

from flows.adapters.feast import offline as feast_offline
from flows.adapters.feast.offline import FAN_IN, OfflineStore
from flows.core.features.batch import Row
from flows.core.features.plan import LATENESS, Aggregate, FeaturePlan, View
from flows.core.serving.served_rows import ServedRow
from flows.errors import ConfigError, StoreError
from flows.host.arrow import write_whole

HOUR = 3_600_000
NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z
CREATED = 1_760_000_000_000
PLAN = FeaturePlan(
    "shops",
    (
        View(
            "sales",
            "shop",
            "tills",
            (Aggregate("n", "count", "", HOUR, "int"), Aggregate("m", "mean", "price", HOUR)),
        ),
    ),
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "offline" / "sales"


@pytest.fixture
def offline(folder):
    return OfflineStore({"sales": folder}, PLAN)


def rows(folder):
    """Return all rows of the parts, in event-time order."""
    table = duckdb.read_parquet(f"{folder}/**/*.parquet")
    return table.project("shop, epoch_ms(event_timestamp) AS time, n, m").order("time").fetchall()


def parts(folder):
    return sorted(path.name[0] for path in folder.glob("*/*.parquet"))


def numbered(i):
    return Row("sales", "a", NOON + i, [i, None if i % 3 == 0 else i + 0.25])


def seen(i):
    return ("a", NOON + i, *numbered(i).values)


def test_rows_come_back_with_their_types_and_nulls(offline, folder):
    offline.append([numbered(i) for i in range(4)], CREATED)
    assert rows(folder) == [seen(i) for i in range(4)]
    schema = pq.read_schema(next(folder.glob("*/*.parquet")))
    assert [f"{field.name} {field.type}" for field in schema] == [
        "shop string",
        "event_timestamp timestamp[us, tz=UTC]",
        "created timestamp[us, tz=UTC]",
        "n int64",
        "m double",
    ]


@pytest.mark.usefixtures("offline")
def test_a_store_without_rows_can_be_read(folder):
    assert rows(folder) == []


def test_opening_again_keeps_what_is_there(offline, folder):
    offline.append([numbered(1)], CREATED)
    OfflineStore({"sales": folder}, PLAN)
    assert rows(folder) == [seen(1)]


def test_the_last_row_of_one_key_and_time_stays(offline, folder):
    offline.append([Row("sales", "a", NOON, [1, 1.0]), Row("sales", "a", NOON, [2, 2.0])], CREATED)
    assert rows(folder) == [("a", NOON, 2, 2.0)]


def test_what_was_served_lies_beside_the_rows_of_its_millisecond_and_keeps_its_microsecond(offline, folder):
    row = Row("sales", "a", NOON, [1, 1.0])
    served = [ServedRow("sales", "a", 1000 * NOON + n, [n, None]) for n in (1, 2)]
    offline.append([row], CREATED, served)
    table = duckdb.read_parquet(f"{folder}/**/*.parquet").order("event_timestamp")
    assert table.project("shop, epoch_us(event_timestamp), n, m").fetchall() == [
        ("a", 1000 * NOON, 1, 1.0),
        ("a", 1000 * NOON + 1, 1, None),
        ("a", 1000 * NOON + 2, 2, None),
    ]


def test_every_call_is_created_after_the_one_before_even_in_one_millisecond(offline, folder):
    for i in range(5):
        offline.append([numbered(i)], CREATED)
    table = duckdb.read_parquet(f"{folder}/**/*.parquet").order("created")
    assert table.project("n").fetchall() == [(i,) for i in range(5)]


def test_a_history_with_other_columns_is_refused_with_the_choice(offline, folder):
    offline.append([numbered(1)], CREATED)
    (view,) = PLAN.views
    grown = FeaturePlan("shops", (replace(view, aggregates=view.aggregates[:1]),))
    with pytest.raises(ConfigError, match=r"'sales' .* has other columns .*; move that folder away, or give"):
        OfflineStore({"sales": folder}, grown)


def fill(offline, count, start=0):
    for i in range(start, start + count):
        offline.append([numbered(i)], CREATED)


def test_few_parts_are_left_alone(offline, folder):
    fill(offline, FAN_IN - 1)
    offline.compact("sales", grace=0)
    assert parts(folder) == ["0"] * (FAN_IN - 1)


def test_many_parts_become_one_with_the_same_rows(offline, folder):
    fill(offline, FAN_IN)
    offline.compact("sales", grace=0)
    offline.compact("sales", grace=0)
    assert parts(folder) == ["1"]
    assert rows(folder) == [seen(i) for i in range(FAN_IN)]


def test_merged_parts_keep_the_microsecond_of_what_was_served(offline, folder):
    moments = [1000 * (NOON + i) + i for i in range(1, FAN_IN + 1)]
    for moment in moments:
        offline.append([], CREATED, [ServedRow("sales", "a", moment, [moment, None])])
    for _ in range(2):
        offline.compact("sales", grace=0)
    assert parts(folder) == ["1"]
    table = duckdb.read_parquet(f"{folder}/**/*.parquet").order("n")
    assert table.project("epoch_us(event_timestamp), n").fetchall() == [(m, m) for m in moments]


def test_replaced_parts_stay_for_the_readers_that_listed_them(offline, folder):
    fill(offline, FAN_IN)
    listed = list(folder.glob("*/*.parquet"))
    for _ in range(3):
        offline.compact("sales", grace=600)
    assert all(path.exists() for path in listed)
    assert parts(folder) == ["0"] * FAN_IN + ["1"]
    assert sorted(set(rows(folder)), key=lambda row: row[1]) == [seen(i) for i in range(FAN_IN)]


def test_merged_parts_are_merged_again_on_the_next_level(offline, folder, monkeypatch):
    monkeypatch.setattr("flows.adapters.feast.offline.FAN_IN", 3)
    for start in range(0, 27, 3):
        fill(offline, 3, start)
        offline.compact("sales", grace=0)
    for _ in range(3):
        offline.compact("sales", grace=0)
    assert parts(folder) == ["3"]
    assert rows(folder) == [seen(i) for i in range(27)]


def test_parts_replaced_on_several_levels_go_from_the_lowest_up(offline, folder, monkeypatch):
    monkeypatch.setattr("flows.adapters.feast.offline.FAN_IN", 2)
    for start in range(0, 8, 2):
        fill(offline, 2, start)
        offline.compact("sales", grace=600)
    for _ in range(3):
        offline.compact("sales", grace=600)
    assert parts(folder) == ["0"] * 8 + ["1"] * 4 + ["2"] * 2 + ["3"]
    offline.compact("sales", grace=0)
    assert parts(folder) == ["3"]
    assert rows(folder) == [seen(i) for i in range(8)]


# The child does what the parent's store did and is killed by the kernel at the named step.
KILLED = """
    import os, signal
    from pathlib import Path
    import flows.adapters.feast.offline as feast_offline
    from flows.adapters.feast.offline import OfflineStore
    from flows.core.features.plan import FeaturePlan

    calls = 0
    def kill(*args, **kwargs):
        global calls
        calls += 1
        if calls == {nth}:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    original, {step} = {step}, kill
    store = OfflineStore({{"sales": Path({folder!r})}}, FeaturePlan.from_json({plan!r}))
    for _ in range(2):
        store.compact("sales", grace=0)
"""


@pytest.mark.parametrize(
    ("step", "nth"),
    [("os.fsync", 1), ("Path.replace", 1), ("Path.unlink", 1), ("Path.unlink", 2), ("Path.unlink", FAN_IN)],
)
def test_a_kill_in_the_middle_of_compaction_loses_and_doubles_nothing(offline, folder, step, nth):
    fill(offline, FAN_IN)
    script = textwrap.dedent(KILLED.format(step=step, nth=nth, folder=str(folder), plan=PLAN.to_json()))
    child = subprocess.run([sys.executable, "-c", script], check=False)
    assert child.returncode == -9
    assert set(rows(folder)) == {seen(i) for i in range(FAN_IN)}
    for _ in range(2):
        offline.compact("sales", grace=0)
    assert parts(folder) == ["1"]
    assert rows(folder) == [seen(i) for i in range(FAN_IN)]


def test_a_dead_writers_temporary_file_is_never_read_and_goes_in_time(offline, folder):
    fill(offline, 1)
    orphan = next(folder.glob("*/*.parquet")).with_name("0-dead.tmp")
    orphan.write_bytes(b"half a part")
    offline.compact("sales")
    assert rows(folder) == [seen(0)]
    assert orphan.exists()
    os.utime(orphan, (0, 0))
    offline.compact("sales")
    assert not orphan.exists()


def test_only_one_compacts_at_a_time(offline, folder):
    fill(offline, FAN_IN)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        offline.compact("sales", grace=0)
        assert parts(folder) == ["0"] * FAN_IN
    offline.compact("sales", grace=0)
    assert "1" in parts(folder)


def test_a_reader_sees_whole_parts_while_they_are_written_and_merged(offline, folder):
    written = 0
    failures = []

    def write():
        nonlocal written
        try:
            for i in range(3 * FAN_IN):
                offline.append([numbered(i)], CREATED)
                written = i + 1
                offline.compact("sales")
        except BaseException as error:
            failures.append(error)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        at_least = written
        assert {seen(i) for i in range(at_least)} <= set(rows(folder))
    writer.join()
    assert not failures


def test_a_disk_that_refuses_is_a_store_error(offline, folder):
    day = folder / datetime.fromtimestamp(CREATED / 1000, UTC).date().isoformat()
    day.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="the offline store cannot be written"):
        offline.append([numbered(0)], CREATED)


YAML = "feature_store.yaml"


@pytest.fixture
def flights(tmp_path):
    """Return Feast's store, the plan, and the engine's offline store of the shipped repository."""
    from flows.adapters.feast.compiler import compile_plan
    from flows.adapters.feast.repo import apply, offline_folders, open_store

    repo = shutil.copytree(SHIPPED, tmp_path / "feature_repo")
    apply(repo, YAML)
    plan = compile_plan(repo, YAML, "flight_delays", LATENESS)
    store = open_store(repo, YAML)
    return store, plan, OfflineStore(offline_folders(store, plan), plan)


def history(store, features, asked, column="origin"):
    """Return Feast's rows for (key, time) pairs, in their order."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            column: [key for key, _ in asked],
            "event_timestamp": pd.to_datetime([time for _, time in asked], unit="ms", utc=True),
            "number": range(len(asked)),
        }
    )
    answer = store.get_historical_features(frame, features).to_df().sort_values("number")
    return [
        tuple(None if pd.isna(value) else value for value in row)
        for row in answer[[feature.partition(":")[2] for feature in features]].itertuples(index=False)
    ]


def test_an_empty_store_answers_with_nulls(flights):
    store, *_ = flights
    assert history(store, ["origin_departures:count_1h"], [("JFK", NOON)]) == [(None,)]


@pytest.mark.parametrize("seed", range(5))
def test_history_equals_an_asof_join_while_parts_come_in_and_are_merged(flights, seed, monkeypatch):
    monkeypatch.setattr("flows.adapters.feast.offline.FAN_IN", 4)
    store, plan, offline = flights
    view = plan.views[0]
    chance = random.Random(seed)
    stored = {}
    for batch in range(12):
        batch_rows = [
            Row(
                view.name,
                chance.choice("ABC"),
                NOON + 60_000 * chance.randrange(4000),
                [batch * 100 + i, chance.choice([None, chance.uniform(-20, 300)]), *[1.0] * 7],
            )
            for i in range(chance.randrange(1, 25))
        ]
        stored.update(((row.key, row.time), row.values[:2]) for row in batch_rows)
        offline.append(batch_rows, CREATED + batch)
        offline.compact(view.name, grace=chance.choice([0, 600]))
    asked = [(chance.choice("ABCD"), NOON + 60_000 * chance.randrange(-200, 6500)) for _ in range(300)]
    asked = list(dict.fromkeys(asked))
    expected = asof(stored, asked, ttl=24 * HOUR)
    assert history(store, [f"{view.name}:count_1h", f"{view.name}:mean_delay_1h"], asked) == expected
    assert sum(answer[0] is None for answer in expected) > 10
    assert sum(answer[0] is not None for answer in expected) > 100


def asof(stored, asked, ttl):
    """The newest stored values at or before each question and not older than `ttl`, by DuckDB's ASOF join."""
    with duckdb.connect() as database:
        database.execute("CREATE TABLE stored (key TEXT, time BIGINT, n BIGINT, m DOUBLE)")
        database.executemany(
            "INSERT INTO stored VALUES (?, ?, ?, ?)", [[*where, *values] for where, values in stored.items()]
        )
        database.execute("CREATE TABLE asked (number BIGINT, key TEXT, time BIGINT)")
        database.executemany("INSERT INTO asked VALUES (?, ?, ?)", [[i, *q] for i, q in enumerate(asked)])
        return database.execute(
            "SELECT CASE WHEN a.time - s.time <= ? THEN n END, CASE WHEN a.time - s.time <= ? THEN m END "
            "FROM asked a ASOF LEFT JOIN stored s ON a.key = s.key AND a.time >= s.time ORDER BY number",
            [ttl, ttl],
        ).fetchall()


def test_the_whole_service_is_read_at_once(flights):
    import pandas as pd

    store, plan, offline = flights
    offline.append(
        [Row(v.name, "x", NOON, [i, i + 0.5, i + 1.5] * 3) for i, v in enumerate(plan.views)], CREATED
    )
    frame = pd.DataFrame({entity: ["x"] for entity in plan.entities})
    frame["event_timestamp"] = pd.to_datetime([NOON + 1], unit="ms", utc=True)
    service = store.get_feature_service("flight_delays")
    answer = store.get_historical_features(frame, service, full_feature_names=True).to_df()
    expected = [value for i in range(8) for value in [i, i + 0.5, i + 1.5] * 3]
    assert answer[list(plan.names)].iloc[0].tolist() == expected


def test_merging_reads_a_row_group_at_a_time_however_large_a_part_has_become(tmp_path, monkeypatch):
    monkeypatch.setattr(feast_offline, "_ROWS", 10)
    part = tmp_path / "1-part.parquet"
    table = pa.table({"n": list(range(50))})
    write_whole(part, (table.slice(start, 10) for start in range(0, 50, 10)), table.schema)
    groups = list(feast_offline._row_groups([part]))
    assert [group.num_rows for group in groups] == [10] * 5
    assert pa.concat_tables(groups).equals(table)
