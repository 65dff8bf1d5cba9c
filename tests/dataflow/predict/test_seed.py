"""A predict flow that starts from a seed predicts like one that read the history."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Project, run_flow
from made_flights import HOUR, MINUTE, NOON, departure, event, record, traffic

from flows.adapters.sqlite.seed import Seed, write_seed
from flows.core.features.batch import Row
from flows.core.serving.served_rows import AnswerDecoder, ServedRow
from flows.core.stream.broker import Outgoing
from flows.errors import ConfigError
from flows.jobs.backfill import Backfill, feature_engine, leave_seed
from flows.jobs.history import history_of
from flows.predict import build
from flows.runtime.engine import Engine

RECORDS = traffic(300)
HISTORY, LIVE = RECORDS[:600], RECORDS[600:]
INPUTS = ("departures", "arrivals", "flights")
AGAIN = [  # what only one who knows the history can tell: a duplicate, and a record that is late
    next(r for r in HISTORY if r.topic == "flights")._replace(timestamp=LIVE[0].timestamp),
    record("departures", LIVE[0].timestamp, orjson.loads(departure("E1", NOON - 12 * HOUR, 1).value)),
]


class Stores:
    """Records the writes of a backfill, instead of Feast's stores."""

    def __init__(self) -> None:
        self.offline: list[Row] = []
        self.served: list[ServedRow] = []
        self.online: dict[tuple[str, str], Row] = {}

    def append(self, rows: Sequence[Row], created: int, served: Sequence[ServedRow]) -> None:
        self.offline += rows
        self.served += served

    def write(self, rows: Sequence[Row]) -> int:
        written = {(row.view, row.key): row for row in rows}
        self.online |= written
        return len(written)


def backfill(running: Engine, files: Sequence[str] = ()) -> Stores:
    """Run `driftline backfill --seed` without Feast."""
    plan, stores = running.state.plan(), Stores()
    with closing(running.open_broker()) as broker:
        history = history_of(running.pipeline, broker, files)
        filling = Backfill(feature_engine(running.pipeline, plan), plan, stores, stores)
        assert sum(filling.run(history)) == len(history)
    leave_seed(running.state, plan, filling.engine, history.ends)
    return stores


def files_of(records: Sequence[Outgoing], folder: Path) -> list[str]:
    """The records as one parquet file for each input."""
    given = []
    for topic in INPUTS:
        rows = [orjson.loads(r.value) for r in records if r.topic == topic]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{topic}.parquet")
        given.append(f"{topic}={folder / topic}.parquet")
    return given


def history_in(project: Project, way: str) -> list[str]:
    """Put the history where the way wants it; what the command gets as arguments."""
    if way == "files":
        return files_of(HISTORY, project.directory)
    project.send(HISTORY)
    return []


def clean_run(applied: Project, folder: Path, live: Sequence[Outgoing]) -> Project:
    """A flow that read history and live records, on the embedded log."""
    clean = applied.copy_to(folder)
    clean.send([*HISTORY, *live])
    run_flow(clean.engine(), "predict")
    return clean


def answers(project: Project, *without: str) -> dict[str, dict]:
    """The predictions by id."""
    return {p["id"]: {k: v for k, v in p.items() if k not in without} for p in project.values("predictions")}


def reasons(project: Project) -> list[tuple[bytes, bytes]]:
    return [(letter.value, dict(letter.headers)["reason"]) for letter in project.records("dead-letters")]


@pytest.mark.parametrize("way", ["topics", "files"])
def test_behind_a_seed_every_answer_is_that_of_a_flow_which_read_the_history(
    project_on: Project, applied: Project, tmp_path: Path, way: str
) -> None:
    running = project_on.engine()
    backfill(running, history_in(project_on, way))
    project_on.send([*AGAIN, *LIVE])
    run_flow(running, "predict")
    clean = clean_run(applied, tmp_path / "clean", [*AGAIN, *LIVE])

    found, expected = answers(project_on), answers(clean)
    if way == "files":  # the topics do not hold what the files held
        held = [sum(r.topic == stream for r in HISTORY) for stream in running.state.plan().streams]
        for answer in expected.values():
            answer["at"] = [at - number for at, number in zip(answer["at"], held, strict=True)]
    asked = [orjson.loads(r.value)["flight_id"] for r in LIVE if r.topic == "flights"]
    assert list(found) == asked
    assert found == {flight: expected[flight] for flight in asked}
    assert reasons(project_on) == reasons(clean)
    assert {reason for _, reason in reasons(clean)} == {b"duplicate", b"late"}


@pytest.mark.parametrize("way", ["topics", "files"])
def test_the_seed_holds_over_a_restart_in_the_middle(
    project: Project, applied: Project, tmp_path: Path, way: str
) -> None:
    running = project.engine()
    backfill(running, history_in(project, way))
    for part in (LIVE[:30], LIVE[30:]):  # the entities of the second part are not all in the first
        project.send(part)
        run_flow(running, "predict")
    clean = clean_run(applied, tmp_path / "clean", LIVE)
    found, expected = answers(project, "at"), answers(clean, "at")
    assert found == {flight: expected[flight] for flight in found}
    assert len(found) == sum(r.topic == "flights" for r in LIVE)


def test_an_entity_that_was_forgotten_and_comes_again_answers_as_one_never_seen(
    project: Project, applied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    entity = Seed.entity
    monkeypatch.setattr(Seed, "entity", lambda seed, name: read.append(name) or entity(seed, name))
    running = project.with_settings(BATCH=1).engine()
    project.send(HISTORY)
    backfill(running)
    end = HISTORY[-1].timestamp
    live = [
        event("L1", end + MINUTE, tail="N1"),
        *[departure(f"D{n}", end + n * HOUR, n, tail="N9") for n in range(1, 60)],  # N1 is idle
        departure("D60", end + 60 * HOUR, 7, tail="N1"),
        event("L2", end + 61 * HOUR, tail="N1"),
    ]
    project.send(live)
    run_flow(running, "predict")
    clean = clean_run(applied, tmp_path / "clean", live)
    assert answers(project) == {flight: answers(clean)[flight] for flight in ("L1", "L2")}
    assert read.count("tail_number=N1") == 2
    assert read.count("tail_number=N9") == 1  # not in the seed; asked for once


def test_a_known_entity_is_not_asked_for_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    entity = Seed.entity
    monkeypatch.setattr(Seed, "entity", lambda seed, name: read.append(name) or entity(seed, name))
    project = project.with_settings(BATCH=10)
    project.send(HISTORY)
    backfill(project.engine())
    project.send(LIVE)
    run_flow(project.engine(), "predict")
    assert len(read) == len(set(read)) > 10


def test_with_several_slots_each_knows_the_ids_of_its_own_partition(project: Project) -> None:
    running = project.engine(partitions=2)
    with closing(running.open_broker()) as broker:
        broker.delete_topics(running.pipeline.topics)
        broker.create_topics(running.pipeline.topic_specs())
    questions = [r for r in RECORDS if r.topic == "flights"]
    project.send(questions[:100])
    backfill(running)
    project.send([r._replace(timestamp=questions[99].timestamp) for r in questions[:100]])
    project.send(questions[100:])
    run_flow(running, "predict")
    assert answers(project).keys() == {r.key.decode() for r in questions[100:]}
    assert {r.partition for r in project.records("predictions")} == {0, 1}
    assert [reason for _, reason in reasons(project)] == [b"duplicate"] * 100


def test_the_rows_of_a_backfill_are_those_of_the_flow(project: Project) -> None:
    project.send(RECORDS)
    running = project.engine()
    stores = backfill(running)
    running.state.seed_file.unlink()
    run_flow(running, "predict")
    newest: dict[tuple[str, str], tuple] = {}
    for body in project.values("features"):
        newest |= {(body["view"], key): (time, values) for key, time, values in body["rows"]}
    assert {key: (row.time, row.values) for key, row in stores.online.items()} == newest
    assert {(row.view, row.key) for row in stores.offline} == set(newest)
    decoder = AnswerDecoder(running.state.plan(), len(running.pipeline.inputs))
    served = [row for answer in decoder.decode(project.records("predictions")) for row in answer.rows]
    assert stores.served == served


def test_a_seed_of_another_plan_or_of_other_partitions_is_refused(project: Project) -> None:
    running = project.engine()
    write_seed(running.state.seed_file, "0123456789ab", {}, [b"{}"], [])
    with pytest.raises(ConfigError, match=r"got plan 0123456789ab .* run `driftline backfill --seed`"):
        build(running)
    write_seed(running.state.seed_file, running.state.plan().hash, {}, [b"{}", b"{}"], [])
    with pytest.raises(ConfigError, match="2 partitions"):
        build(running)


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\0" * 200])
def test_what_is_no_seed_is_refused(project: Project, content: bytes) -> None:
    running = project.engine()
    running.state.seed_file.parent.mkdir(parents=True)
    running.state.seed_file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"seed\.db (cannot be read|must be a seed)"):
        build(running)


@pytest.mark.parametrize("version", [1, 3])
def test_a_seed_of_another_version_is_refused(tmp_path: Path, version: int) -> None:
    file = tmp_path / "state" / "seed.db"
    write_seed(file, "plan", {}, [b"{}"], [])
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    expected = f"must be of format driftline-seed/2, got 'driftline-seed/{version}'; remove it"
    with pytest.raises(ConfigError, match=expected):
        Seed(file, "plan", 1)


def test_a_seed_appears_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken():
        yield "a", b"1"
        raise KeyboardInterrupt

    file = tmp_path / "state" / "seed.db"
    write_seed(file, "old", {"t/0": 7}, [b"{}"], [("a", b"0")])
    with pytest.raises(KeyboardInterrupt):
        write_seed(file, "new", {}, [b"{}"], broken())
    seed = Seed(file, "old", 1)
    assert (seed.offsets, seed.intake(0), seed.entity("a"), seed.entity("b")) == (
        {"t/0": 7},
        b"{}",
        b"0",
        None,
    )
    write_seed(file, "new", {}, [b"{}"], [("a", b"2")])
    assert Seed(file, "new", 1).entity("a") == b"2"


def test_the_command_fills_the_stores_and_leaves_a_seed_but_not_beside_a_state(project: Project) -> None:
    project.apply_feast()
    project.send([*HISTORY, Outgoing("flights", b"?", timestamp=NOON)])
    done = project.run("backfill", "--seed")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    read = sum(r.topic in INPUTS for r in HISTORY) + 1
    assert said[0].startswith(f"{read} records, 1 dead letters (1 not-json), ")
    assert said[1].startswith("the first not-json: flights, partition 0, offset ")
    running = project.engine()
    offline = pq.read_table(project.directory / ".driftline" / "offline" / "origin_departures")
    assert set(offline["origin"].to_pylist()) == {"JFK", "EWR", "LGA"}

    project.send(LIVE)
    run_flow(replace(running), "predict")
    assert len(answers(project)) == sum(r.topic == "flights" for r in LIVE)
    again = project.run("backfill", "--seed")
    assert again.returncode == 2
    assert "has state in" in again.stderr
    assert project.run("backfill").returncode == 0
