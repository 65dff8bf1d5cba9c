"""Feast's SQLite store holds what Feast's own writer would have stored, to the last byte."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from places import SHIPPED

from flows.adapters.feast import online
from flows.adapters.feast.compiler import compile_plan
from flows.adapters.feast.online import OnlineStore
from flows.adapters.feast.repo import apply, open_store
from flows.adapters.feast.tables.feast_table import FeastTable
from flows.core.features.batch import Row
from flows.core.features.plan import LATENESS

YAML = "feature_store.yaml"
NOON = 1_357_041_600_000  # 2013-01-01T12:00:00Z
VIEW = "origin_departures"
ROWS = (
    [3, 1.5, 2.0, 4, 2.5, 3.0, 5, 3.5, 9.0],
    [0, None, None, 0, None, None, 2**40, -0.0, 1e-300],
    [1, 1e22, 0.1 + 0.2, 1, 7, 2**53, 1, 1, 0],  # whole numbers in features of floats
)


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    project = tmp_path_factory.mktemp("applied")
    shutil.copytree(SHIPPED, project / "feature_repo")
    apply(project / "feature_repo", YAML)
    return project


@pytest.fixture
def project(applied, tmp_path):
    return shutil.copytree(applied, tmp_path / "project")


def opened(project):
    repo = project / "feature_repo", YAML
    return OnlineStore(open_store(*repo), compile_plan(*repo, "flight_delays", LATENESS))


def sql(project, statement):
    with closing(sqlite3.connect(project / ".driftline" / "feast" / "online.db")) as store, store:
        return store.execute(statement).fetchall()


def stored(project):
    return sql(project, "SELECT * FROM driftline_origin_departures ORDER BY entity_key, feature_name")


def write_all(project):
    store = opened(project)
    for number, values in enumerate(ROWS):
        store.write([Row(VIEW, key, NOON + 1999 * number, list(values)) for key in ("JFK", "é漢🛫")])


def test_updated_rows_are_those_of_feasts_writer(project, tmp_path, monkeypatch):
    other = shutil.copytree(project, tmp_path / "other")
    write_all(project)
    monkeypatch.setattr(online, "is_plain_sqlite", lambda _: False)
    write_all(other)
    assert len(stored(project)) == 2 * len(ROWS[0])
    assert stored(project) == stored(other)


def test_a_feature_that_a_row_lacks_is_added(project):
    store = opened(project)
    store.write([Row(VIEW, "JFK", NOON, list(ROWS[0]))])
    sql(project, "DELETE FROM driftline_origin_departures WHERE feature_name = 'count_3h'")
    store.write([Row(VIEW, "JFK", NOON + 1000, list(ROWS[0]))])
    assert len(stored(project)) == len(ROWS[0])


def test_a_feature_of_an_earlier_declaration_keeps_its_value(project):
    store = opened(project)
    store.write([Row(VIEW, "JFK", NOON, list(ROWS[0]))])
    sql(
        project,
        "UPDATE driftline_origin_departures SET feature_name = 'gone' WHERE feature_name = 'count_3h'",
    )
    (gone,) = [row for row in stored(project) if row[1] == "gone"]
    store.write([Row(VIEW, "JFK", NOON + 1000, list(ROWS[1]))])
    assert gone in stored(project)
    assert len(stored(project)) == len(ROWS[0]) + 1


def test_times_are_those_that_feast_reads(project):
    store = opened(project)
    store.write([Row(VIEW, key, NOON + 1234, list(ROWS[0])) for key in ("JFK", "EWR")])
    table = store._views[VIEW]._table
    keys = ["EWR", "LGA", "JFK"]
    assert table.read_times(keys) == FeastTable.read_times(table, keys) == [NOON + 1000, 0, NOON + 1000]
