"""The contract of lookups, on SQLite and a real Redis that Feast wrote."""

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from harness import answers_ping, server_port, unavailable, wait_until
from places import SHIPPED

from flows.adapters.feast import lookup as feast_lookup
from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.lookup import CACHED, PAUSE, TIMEOUT, OnlineTable, past
from flows.adapters.feast.repo import apply, open_store
from flows.core.features.batch import Question
from flows.core.features.lookups import Lookups, Stored
from flows.core.features.plan import LATENESS
from flows.errors import ConfigError, StoreError

YAMLS = {"sqlite": "feature_store.yaml", "redis": "feature_store.redis.yaml"}
NOON, HOUR = 1_357_041_600_000, 3_600_000

DECLARATIONS = """
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
hour = Entity(name="hour", join_keys=["hour"], value_type=ValueType.INT64)
tail = Entity(name="tail", join_keys=["tail"], value_type=ValueType.STRING)
weather = FeatureView(
    name="weather",
    entities=[origin, hour],
    ttl=timedelta(hours=2),
    source=FileSource(
        name="weather_table",
        path=str(Path(__file__).parent / "weather.parquet"),
        timestamp_field="event_timestamp",
    ),
    schema=[
        Field(name="wind", dtype=Float64), Field(name="flights", dtype=Int64), Field(name="sky", dtype=String)
    ],
)
aircraft = FeatureView(
    name="aircraft",
    entities=[tail],
    ttl=timedelta(days=365),
    source=FileSource(
        name="aircraft_table", path="/nowhere/aircraft.parquet", timestamp_field="event_timestamp"
    ),
    schema=[Field(name="seats", dtype=Int64)],
)
looked_up = FeatureService(name="looked_up", features=[weather, aircraft])
"""


class RedisServer:
    """A Redis of its own, which can be stopped, frozen and started again."""

    def __init__(self):
        self.port = server_port()
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen([*command, "--appendonly", "no"], stdout=subprocess.DEVNULL)
        wait_until(lambda: answers_ping(self.port))

    def stop(self):
        self.send(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(10)

    def send(self, number):
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


@pytest.fixture(scope="module")
def redis_server():
    if not shutil.which("redis-server"):
        unavailable("Redis is not installed: 'apt install redis-server' or 'brew install redis'")
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(params=YAMLS)
def repo(request, tmp_path, monkeypatch):
    """An applied feature repository with an empty online store, and its YAML file's name."""
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        monkeypatch.setenv("DRIFTLINE_REDIS", f"127.0.0.1:{server.port}")
        subprocess.run(
            ["redis-cli", "-p", str(server.port), "flushall"], check=True, stdout=subprocess.DEVNULL
        )
    folder, yaml = tmp_path / "feature_repo", YAMLS[request.param]
    folder.mkdir()
    (folder / yaml).write_text((SHIPPED / yaml).read_text())
    (folder / "declarations.py").write_text(DECLARATIONS)
    apply(folder, yaml)
    return folder, yaml


@pytest.fixture
def plan(repo):
    return compile_plan(*repo, "looked_up", LATENESS)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def moment(time):
    return datetime.fromtimestamp(time / 1000, UTC)


def weather(time, wind, origin="JFK", hour=12, flights=3, sky="rain"):
    return {
        "origin": origin,
        "hour": hour,
        "wind": wind,
        "flights": flights,
        "sky": sky,
        "event_timestamp": moment(time),
    }


def write(repo, *rows, view="weather"):
    """Write a table and let Feast materialize it, as a job of the user does."""
    open_store(*repo).write_to_online_store(view, pd.DataFrame(rows))


def asked(time, origin="JFK", hour=12, tail="N1"):
    return Question("q", time, {"origin": origin, "hour": hour, "tail": tail})


def looked_up(table, plan, *questions):
    """The weather and the aircraft's seats served for each question, and the reasons of the nulls."""
    vectors = [[] for _ in questions]
    nulls = Lookups(plan, table).extend(questions, vectors)
    return vectors, nulls


def test_what_feast_materialized_is_served(repo, plan):
    rows = [weather(NOON, 7.5), weather(NOON - HOUR, 9.0), weather(NOON, 2.0, "LGA", 13, 4, "sun")]
    pd.DataFrame(rows).to_parquet(repo[0] / "weather.parquet")
    open_store(*repo).materialize(moment(NOON - 2 * HOUR), moment(NOON + HOUR), ["weather"])
    write(repo, {"tail": "N1", "seats": 180, "event_timestamp": moment(NOON)}, view="aircraft")
    vectors, nulls = looked_up(
        OnlineTable(open_store(*repo), plan), plan, asked(NOON), asked(NOON, "LGA", 13), asked(NOON, "LGA")
    )
    assert vectors == [[7.5, 3, "rain", 180], [2.0, 4, "sun", 180], [None, None, None, 180]]
    assert [[type(value) for value in vector] for vector in vectors[:1]] == [[float, int, str, int]]
    assert nulls == {("weather", "missing"): 1}


def test_freshness_is_exact_to_the_stored_time(repo, plan):
    write(repo, weather(NOON, 7.5))
    table = OnlineTable(open_store(*repo), plan)
    times = (NOON - 1, NOON, NOON + 2 * HOUR, NOON + 2 * HOUR + 1)
    vectors, nulls = looked_up(table, plan, *[asked(time) for time in times])
    assert [vector[0] for vector in vectors] == [None, 7.5, 7.5, None]
    assert nulls == {("weather", "future"): 1, ("weather", "stale"): 1, ("aircraft", "missing"): 4}


def test_a_null_of_the_table_is_null_and_its_other_values_are_served(repo, plan):
    write(repo, weather(NOON, None, sky=None), weather(NOON, float("nan"), hour=13))
    table = OnlineTable(open_store(*repo), plan)
    vectors, nulls = looked_up(table, plan, asked(NOON), asked(NOON, hour=13))
    assert vectors == [[None, 3, None, None], [None, 3, "rain", None]]
    assert nulls == {("aircraft", "missing"): 2}


def test_keys_of_any_text_and_any_whole_number_are_found(repo, plan):
    keys = [("é漢🛫", 0), ("'; DROP TABLE x; --", -5), ("x" * 256, 2**62)]
    write(repo, *[weather(NOON, float(n), *key) for n, key in enumerate(keys)])
    vectors, _ = looked_up(OnlineTable(open_store(*repo), plan), plan, *[asked(NOON, *key) for key in keys])
    assert [vector[0] for vector in vectors] == [0.0, 1.0, 2.0]


def test_an_answer_is_used_again_until_it_expires_and_a_miss_too(repo, plan):
    clock = Clock()
    table = OnlineTable(open_store(*repo), plan, clock)
    write(repo, weather(NOON, 1.0))
    questions = asked(NOON), asked(NOON, hour=13)
    assert [v[0] for v in looked_up(table, plan, *questions)[0]] == [1.0, None]
    write(repo, weather(NOON + 1000, 2.0), weather(NOON + 1000, 3.0, hour=13))
    later = asked(NOON + HOUR), asked(NOON + HOUR, hour=13)
    clock.now = CACHED - 0.1
    assert [v[0] for v in looked_up(table, plan, *later)[0]] == [1.0, None]
    clock.now = CACHED
    assert [v[0] for v in looked_up(table, plan, *later)[0]] == [2.0, 3.0]


def test_more_keys_than_are_kept_or_read_at_once_are_all_answered(repo, plan, monkeypatch):
    monkeypatch.setattr(feast_lookup, "KEYS", 5)
    monkeypatch.setattr(feast_lookup, "_READ", 3)
    write(repo, *[weather(NOON, float(hour), hour=hour) for hour in range(20)])
    table = OnlineTable(open_store(*repo), plan)
    for _ in range(2):
        vectors, _ = looked_up(table, plan, *[asked(NOON, hour=hour) for hour in range(20)])
        assert [vector[0] for vector in vectors] == [float(hour) for hour in range(20)]


def test_thousands_of_keys_fit_one_batch(repo, plan):
    table = OnlineTable(open_store(*repo), plan)
    keys = [(hour, "JFK") for hour in range(40_000)]
    assert table.read(plan.lookups[0], keys) == dict.fromkeys(keys)


def test_a_plan_whose_views_the_registry_does_not_have_says_to_apply(repo, plan):
    (repo[0] / "declarations.py").write_text(DECLARATIONS.replace('"weather"', '"winds"'))
    apply(*repo)
    with pytest.raises(ConfigError, match="run `driftline apply`"):
        OnlineTable(open_store(*repo), plan)


def test_a_store_that_is_away_gives_nulls_and_its_return_values_and_warns_once_a_pause(
    repo, plan, request, caplog
):
    clock = Clock()
    write(repo, weather(NOON, 1.0), weather(NOON, 2.0, hour=13))
    table = OnlineTable(open_store(*repo), plan, clock)
    assert looked_up(table, plan, asked(NOON))[0] == [[1.0, 3, "rain", None]]
    come_back = take_away(repo, request)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            vectors, nulls = looked_up(table, plan, asked(NOON), asked(NOON, hour=13, tail="N2"))
            assert [vector[0] for vector in vectors] == [1.0, None]  # what is cached is still known
            assert nulls == {("weather", "away"): 1, ("aircraft", "missing"): 1, ("aircraft", "away"): 1}
        assert len(caplog.records) == 1
        clock.now += PAUSE
        looked_up(table, plan, asked(NOON, hour=13))
        assert len(caplog.records) == 2
    come_back()
    clock.now += PAUSE
    assert looked_up(table, plan, asked(NOON, hour=13))[0][0][0] == 2.0


def take_away(repo, request):
    """Stop the store; return a function that starts it again with its data."""
    if repo[1] == YAMLS["sqlite"]:
        rename_tables(repo, "driftline_{}", "{}_away")
        return lambda: rename_tables(repo, "{}_away", "driftline_{}")
    server = request.getfixturevalue("redis_server")
    server.stop()

    def come_back():
        server.start()
        write(repo, weather(NOON, 2.0, hour=13))

    return come_back


def rename_tables(repo, old, new):
    with closing(sqlite3.connect(repo[0].parent / ".driftline" / "feast" / "online.db")) as database:
        for view in ("weather", "aircraft"):
            database.execute(f"ALTER TABLE {old.format(view)} RENAME TO {new.format(view)}")


@pytest.mark.parametrize("repo", ["redis"], indirect=True)
def test_a_redis_that_does_not_answer_holds_a_batch_up_for_a_moment_only(repo, plan, redis_server):
    write(repo, weather(NOON, 1.0))
    fresh, known = OnlineTable(open_store(*repo), plan), OnlineTable(open_store(*repo), plan)
    looked_up(known, plan, asked(NOON, hour=13))
    redis_server.send(signal.SIGSTOP)
    try:
        for table in (fresh, known):
            began = time.monotonic()
            for _ in range(100):
                vectors, nulls = looked_up(table, plan, asked(NOON))
            assert time.monotonic() - began < 3 * TIMEOUT + 0.2  # one attempt; then it is left alone
            assert (vectors[0][0], nulls["weather", "away"]) == (None, 1)
    finally:
        redis_server.send(signal.SIGCONT)


@pytest.mark.parametrize("repo", ["redis"], indirect=True)
def test_waits_that_the_connection_string_sets_are_left(repo, plan, monkeypatch):
    monkeypatch.setenv("DRIFTLINE_REDIS", "127.0.0.1:1,socket_timeout=7")
    store = open_store(*repo)
    OnlineTable(store, plan)
    options = store.config.online_store.connection_string.split(",")
    assert Counter(option.partition("=")[0] for option in options)["socket_timeout"] == 1
    assert {"socket_timeout=7", f"socket_connect_timeout={TIMEOUT}", "retry=null"} < set(options)


def test_redis_keeps_the_time_of_a_value_and_sqlite_its_second(repo, plan):
    write(repo, weather(NOON + 999, 1.0))
    ((_, stored),) = OnlineTable(open_store(*repo), plan).read(plan.lookups[0], [(12, "JFK")]).items()
    assert isinstance(stored, Stored)
    assert stored.time == (NOON if repo[1] == YAMLS["sqlite"] else NOON + 999)


@pytest.mark.parametrize("repo", ["sqlite"], indirect=True)
def test_a_question_of_the_past_gets_what_the_table_said_of_its_time(repo, plan):
    """The oracle is the same rule over the table's own rows, by hand."""
    day = 24 * HOUR
    rows = [
        weather(NOON, 1.0),
        weather(NOON + HOUR, float("nan"), sky=None),
        weather(NOON + HOUR, 5.0, hour=13),
        weather(NOON + day, 2.0, flights=9),
        weather(NOON, 4.0, "LGA"),
    ]
    pd.DataFrame(rows).to_parquet(repo[0] / "weather.parquet")
    plan = replace(plan, lookups=plan.lookups[:1])
    expected = [
        (asked(NOON - 1), [None, None, None]),
        (asked(NOON), [1.0, 3, "rain"]),
        (asked(NOON + HOUR - 1), [1.0, 3, "rain"]),
        (asked(NOON + HOUR), [None, 3, None]),
        (asked(NOON + 3 * HOUR), [None, 3, None]),
        (asked(NOON + 3 * HOUR + 1), [None, None, None]),
        (asked(NOON + day + 5), [2.0, 9, "rain"]),
        (asked(NOON + 2 * HOUR, "LGA"), [4.0, 3, "rain"]),
        (asked(NOON, None), [None, None, None]),
        (asked(NOON, "BOS"), [None, None, None]),
    ]
    questions = [question._replace(id=str(n)) for n, (question, _) in enumerate(expected)]
    answer = past(open_store(*repo), plan, questions)
    assert [answer[question.id, question.time] for question in questions] == [row for _, row in expected]
    assert [type(value) for value in answer["1", NOON]] == [float, int, str]


@pytest.mark.parametrize("repo", ["sqlite"], indirect=True)
def test_a_history_that_is_not_there_is_an_error_that_names_the_view(repo, plan):
    with pytest.raises(
        StoreError, match=r"the history of batch view 'weather' cannot be read .*batch source"
    ):
        past(open_store(*repo), plan, [asked(NOON)])
