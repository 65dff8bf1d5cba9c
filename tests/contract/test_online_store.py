"""The contract of online stores, on SQLite and a real Redis."""

import shutil
import socket
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from feast import FeatureStore
from made_machines import machines
from places import SHIPPED
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from flows.adapters.feast import online as feast_online
from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.online import OnlineStore
from flows.adapters.feast.repo import apply, open_store
from flows.core.features.batch import Row
from flows.core.features.plan import LATENESS
from flows.errors import StoreError

YAMLS = {"sqlite": "feature_store.yaml", "redis": "feature_store.redis.yaml"}
HOUR = 3_600_000
NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z
VALUES = [3, 1.5, 2.0, 4, 2.5, 3.0, 5, 3.5, 9.0]


def free_port():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class RedisServer:
    def __init__(self):
        self.port = free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [
                "redis-server",
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self.answers():
            assert time.monotonic() < deadline, "redis-server does not answer"

    def answers(self):
        try:
            return Redis(port=self.port).ping()
        except RedisAway:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def redis_server():
    server = RedisServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def applied(tmp_path_factory, redis_server):
    """A project whose feature repository is applied for both stores."""
    project = tmp_path_factory.mktemp("applied")
    repo = shutil.copytree(SHIPPED, project / "feature_repo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTLINE_REDIS", f"127.0.0.1:{redis_server.port}")
        for yaml in YAMLS.values():
            apply(repo, yaml)
    return project


@pytest.fixture(params=YAMLS)
def repo(request, applied, tmp_path, monkeypatch, redis_server):
    """A copy of the feature repository, its store empty, and its YAML file's name."""
    monkeypatch.setenv("DRIFTLINE_REDIS", f"127.0.0.1:{redis_server.port}")
    Redis(port=redis_server.port).flushall()
    return shutil.copytree(applied, tmp_path / "project") / "feature_repo", YAMLS[request.param]


@pytest.fixture
def plan(repo):
    return compile_plan(*repo, "flight_delays", LATENESS)


def opened(repo, plan):
    return OnlineStore(open_store(*repo), plan)


def row(time, values=VALUES, view="origin_departures", key="JFK"):
    return Row(view, key, time, list(values))


def counting(n):
    """Return values that differ for each key and count."""
    return [n, *VALUES[1:]]


def read(repo, keys=("JFK",), view="origin_departures", entity="origin"):
    """The first count of each key, as a Feast client reads it."""
    store = FeatureStore(repo_path=str(repo[0]), fs_yaml_file=repo[0] / repo[1])
    answer = store.get_online_features([f"{view}:count_1h"], [{entity: key} for key in keys])
    return answer.to_dict()["count_1h"]


def test_a_feast_client_reads_every_feature_that_was_written(repo, plan):
    rows = [
        Row(view.name, f"{view.entity} 1", NOON, [i, i + 0.5, i + 1.5, *VALUES[3:]])
        for i, view in enumerate(plan.views)
    ]
    assert opened(repo, plan).write(rows) == 8
    store = FeatureStore(repo_path=str(repo[0]), fs_yaml_file=repo[0] / repo[1])
    answer = store.get_online_features(
        store.get_feature_service("flight_delays"),
        [{entity: f"{entity} 1" for entity in plan.entities}],
        full_feature_names=True,
    ).to_dict()
    assert [answer[name] for name in plan.names] == [[value] for r in rows for value in r.values]


def test_counts_come_back_as_integers_and_the_others_as_floats(repo, plan):
    opened(repo, plan).write([row(NOON, [3, 1, 2, 4, 5, 6, 7, 8, 9])])
    store = open_store(*repo)
    names = ["origin_departures:count_1h", "origin_departures:mean_delay_1h"]
    answer = store.get_online_features(names, [{"origin": "JFK"}]).to_dict()
    assert [type(answer[name][0]) for name in ("count_1h", "mean_delay_1h")] == [int, float]


def test_a_null_is_read_as_none(repo, plan):
    online = opened(repo, plan)
    online.write([row(NOON)])
    online.write([row(NOON + 1000, [0, None, None, 0, None, None, 4, 2.5, 9.0])])
    store = open_store(*repo)
    names = [f"origin_departures:{name}" for name in ("count_1h", "mean_delay_1h", "max_delay_3h")]
    answer = store.get_online_features(names, [{"origin": "JFK"}]).to_dict()
    assert answer == {"origin": ["JFK"], "count_1h": [0], "mean_delay_1h": [None], "max_delay_3h": [None]}


def test_the_newest_row_of_a_batch_is_stored_whatever_its_place(repo, plan):
    batch = [row(NOON + 1, counting(1)), row(NOON + 3, counting(3)), row(NOON + 2, counting(2))]
    assert opened(repo, plan).write(batch) == 1
    assert read(repo) == [3]


def test_the_later_of_two_rows_of_one_time_is_stored(repo, plan):
    online = opened(repo, plan)
    online.write([row(NOON, counting(1)), row(NOON, counting(2))])
    assert read(repo) == [2]
    online.write([row(NOON, counting(3))])
    assert read(repo) == [3]


def test_an_older_row_does_not_overwrite_a_newer_one(repo, plan):
    online = opened(repo, plan)
    online.write([row(NOON, counting(1)), row(NOON, counting(1), key="EWR")])
    assert online.write([row(NOON - 1, counting(2)), row(NOON + 1, counting(2), key="EWR")]) == 1
    assert read(repo, ("JFK", "EWR")) == [1, 2]


def test_an_older_row_does_not_overwrite_a_newer_one_after_a_restart(repo, plan):
    opened(repo, plan).write([row(NOON, counting(1))])
    assert opened(repo, plan).write([row(NOON - 1000, counting(2))]) == 0
    assert read(repo) == [1]


def test_a_row_of_the_stored_time_overwrites_after_a_restart(repo, plan):
    opened(repo, plan).write([row(NOON + 123, counting(1))])
    assert opened(repo, plan).write([row(NOON + 123, counting(2))]) == 1
    assert read(repo) == [2]


def test_views_and_keys_keep_their_own_times(repo, plan):
    online = opened(repo, plan)
    online.write([row(NOON)])
    others = [
        row(NOON - 5000, counting(7), view="origin_arrivals"),
        row(NOON - 5000, counting(8), key="LGA"),
    ]
    assert online.write(others) == 2
    assert read(repo, view="origin_arrivals") + read(repo, ("LGA",)) == [7, 8]


def test_forgotten_times_are_read_again_from_the_store(repo, plan, monkeypatch):
    monkeypatch.setattr(feast_online, "KEYS", 2)
    monkeypatch.setattr(feast_online, "_READ", 3)
    online = opened(repo, plan)
    keys = [f"K{i}" for i in range(10)]
    online.write([row(NOON, counting(1), key=key) for key in keys])
    assert online.write([row(NOON - 1000, counting(2), key=key) for key in keys]) == 0
    assert read(repo, keys) == [1] * 10


def test_keys_of_any_text_come_back(repo, plan):
    keys = ["a b", "é漢🛫", "x" * 256, "'; DROP TABLE x; --"]
    opened(repo, plan).write([row(NOON, counting(i), key=key) for i, key in enumerate(keys)])
    assert read(repo, keys) == [0, 1, 2, 3]


def test_a_batch_of_thousands_of_keys_is_stored_whole(repo, plan):
    keys = [f"N{i}" for i in range(12_000)]
    rows = [row(NOON, counting(i), view="aircraft_departures", key=key) for i, key in enumerate(keys)]
    assert opened(repo, plan).write(rows) == 12_000
    assert read(repo, keys[::1000], "aircraft_departures", "tail_number") == list(range(0, 12_000, 1000))


def test_an_empty_batch_stores_nothing(repo, plan):
    assert opened(repo, plan).write([]) == 0


@pytest.mark.parametrize("repo", ["redis"], indirect=True)
def test_a_redis_that_is_away_is_an_error_and_its_return_takes_the_same_rows(repo, plan, redis_server):
    online = opened(repo, plan)
    online.write([row(NOON, counting(1))])
    redis_server.stop()
    with pytest.raises(StoreError, match=r"the online store is unavailable .*check that it runs"):
        online.write([row(NOON + 1, counting(2))])
    redis_server.start()
    assert online.write([row(NOON + 1, counting(2))]) == 1
    assert read(repo) == [2]


@pytest.mark.parametrize("repo", ["sqlite"], indirect=True)
def test_a_client_that_is_reading_does_not_stop_the_writer(repo, plan):
    online = opened(repo, plan)
    online.write([row(NOON, counting(1))])
    with closing(sqlite3.connect(repo[0].parent / ".driftline" / "feast" / "online.db")) as client:
        client.execute("BEGIN")
        client.execute("SELECT * FROM driftline_origin_departures").fetchone()
        assert online.write([row(NOON + 1, counting(2))]) == 1
    assert read(repo) == [2]


@pytest.mark.parametrize("repo", ["sqlite"], indirect=True)
def test_a_store_that_was_never_applied_says_to_apply(repo, plan):
    for file in (repo[0].parent / ".driftline" / "feast").glob("online.db*"):
        file.unlink()
    with pytest.raises(StoreError, match="driftline apply"):
        opened(repo, plan).write([row(NOON)])


@pytest.mark.parametrize("yaml", YAMLS.values(), ids=YAMLS)
def test_integers_of_64_bits_are_keys_whose_newest_rows_feast_reads(
    yaml, tmp_path, monkeypatch, redis_server
):
    monkeypatch.setenv("DRIFTLINE_REDIS", f"127.0.0.1:{redis_server.port}")
    monkeypatch.syspath_prepend(str(tmp_path / "project"))  # its on-demand view's function
    repo = machines(tmp_path / "project").directory / "feature_repo", yaml
    shutil.copy(SHIPPED / yaml, repo[0])
    apply(*repo)
    plan = compile_plan(*repo, "failures", LATENESS)
    keys = [0, 1, -7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
    rows = [Row("machine_readings", key, NOON, [n, 0.5, 1.0, 1]) for n, key in enumerate(keys)]
    assert opened(repo, plan).write([*rows, Row("site_checks", "1", NOON, [9])]) == len(keys) + 1
    again = opened(repo, plan)
    assert again.write([Row("machine_readings", 1, NOON - HOUR, [99, 0.5, 1.0, 1])]) == 0
    store = open_store(*repo)
    read = store.get_online_features(["machine_readings:n"], [{"machine": key} for key in [*keys, 2]])
    assert read.to_dict()["n"] == [*range(len(keys)), None]
    sites = store.get_online_features(["site_checks:n"], [{"site": "1"}, {"site": "2"}])
    assert sites.to_dict()["n"] == [9, None]
