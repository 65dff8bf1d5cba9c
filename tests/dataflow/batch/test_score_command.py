"""`driftline score`: the numbers of the stream, whatever stops it and however many processes share it."""

from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from random import Random
from zlib import crc32

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from harness import DRIFTLINE, Project, run_flow, wait_until
from made_flights import HOUR, MINUTE, NOON, traffic
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.features.batch import Question
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, View
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso
from flows.errors import ConfigError, DriftlineError
from flows.host.file_locks import try_exclusive_lock
from flows.jobs.batch.folder import BatchFolder
from flows.jobs.batch.history import BatchHistory, Bounds
from flows.runtime.state import PipelineState

FLIGHTS = 1500
LEARNED = FLIGHTS * 2 // 3  # flights whose labels are learned before the others are published

VISITS = """
from datetime import timedelta

from river import linear_model, preprocessing

from flows import Flag, Number, Pipeline, Stream, Text, Time

FIELDS = {"id": Text(), "at": Time(), "user": Text(), "amount": Number(0, 1e6)}

pipeline = Pipeline(
    name="visits",
    events=Stream("visits", id="id", time="at", fields=FIELDS),
    sources=(Stream("refunds", id="id", time="at", fields=FIELDS),),
    labels=Stream("visit_labels", id="id", time="at", fields={"id": Text(), "at": Time(), "hit": Flag()}),
    target="hit",
    entities=("user",),
    service="visits",
    inputs=("amount",),
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label_wait=timedelta(days=1),
    partitions=2,
)
"""
PLAN = FeaturePlan(
    "visits",
    (
        View(
            "seen",
            "user",
            "visits",
            (Aggregate("n", "count", "", HOUR, "int"), Aggregate("sum", "sum", "amount", HOUR)),
        ),
        View("refunded", "user", "refunds", (Aggregate("sum", "sum", "amount", 2 * HOUR),)),
    ),
    lateness=10 * MINUTE,
)
NAMES = ("amount", "seen__n", "seen__sum", "refunded__sum")


def visits_project(directory: Path) -> Project:
    """Return a project whose features aggregate the events too, as after `driftline apply`."""
    (directory / "feature_repo").mkdir(parents=True)
    (directory / "visits.py").write_text(VISITS)
    (directory / "driftline.toml").write_text('pipelines = ["visits"]\n')
    PipelineState(directory / ".driftline", "visits").keep_plan(PLAN)
    project = Project(directory)
    project.make_topics()
    return project


def visits(number: int) -> list[Outgoing]:
    """Return a visit a minute, a refund for each third, and a label an hour later, in order.

    All records of a user are in the partition of the user's shard: the stream has no order among partitions.
    """
    random = Random(5)
    records = []
    for each in range(number):
        key, time = f"V{each:06}", NOON + each * MINUTE
        user = random.choice("abd")
        body = {"user": user, "amount": random.random()}
        partition = crc32(user.encode()) % 2
        records.append(made("visits", key, time, partition, **body))
        if each % 3 == 0:
            records.append(made("refunds", f"R{key}", time + 20 * MINUTE, partition, **body))
        records.append(made("visit_labels", key, time + HOUR, partition, hit=body["amount"] > 0.5))
    return sorted(records, key=lambda record: (record.timestamp, record.topic == "visits"))


def made(topic: str, key: str, time: int, partition: int, **body: object) -> Outgoing:
    return Outgoing(topic, orjson.dumps({"id": key, "at": iso(time), **body}), key.encode(), partition, time)


def run_stream(project: Project, records: Sequence[Outgoing], learned: int) -> None:
    """Publish records and predict; the model learns the labels up to a time only."""
    early = [record for record in records if record.timestamp < learned]
    project.send(early)
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    labels = project.engine().pipeline.labels.topic
    project.send([each for each in records if each.timestamp >= learned and each.topic != labels])
    run_flow(project.engine(), "predict")


@pytest.fixture(scope="module")
def flights(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project after a run, which no test changes."""
    project = applied.copy_to(tmp_path_factory.mktemp("flights") / "project")
    project.make_topics()
    run_stream(project, traffic(FLIGHTS), NOON + LEARNED * MINUTE)
    return project


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project after a run, which no test changes."""
    project = visits_project(tmp_path_factory.mktemp("visits") / "project")
    run_stream(project, visits(2000), NOON + 1000 * MINUTE)
    return project


def rows_of(file: Path) -> list[dict]:
    rows: list[dict] = pq.read_table(file).to_pylist()
    return rows


def command(project: Project, out: Path, *arguments: str) -> Result:
    with chdir(project.directory):
        return CliRunner().invoke(app, ["score", *arguments, "--out", str(out)], env={"COLUMNS": "200"})


def scored(project: Project, out: Path, *arguments: str) -> list[dict]:
    done = command(project, out, *arguments)
    assert done.exit_code == 0, (done.exception, done.output)
    assert not BatchFolder(out).path.exists()
    return rows_of(out)


def as_streamed(project: Project, rows: Sequence[dict]) -> int:
    """Check that each row is as the stream's prediction; return how many the same model scored."""
    served = {value["id"]: value for value in project.values("predictions")}
    running = project.engine()
    names = running.pipeline.feature_names(running.state.plan())
    same = 0
    for row in rows:
        of_stream = served[row["id"]]
        assert pa.scalar(row["event_timestamp"], pa.timestamp("us", "UTC")).value == of_stream["moment"]
        assert [row[name] for name in names] == of_stream["features"]
        if (row["model"], row["learned"]) == (of_stream["model"], of_stream["learned"]):
            assert row["score"] == of_stream["score"]
            same += 1
    return same


@pytest.mark.parametrize("processes", ["1", "3"])
def test_a_topic_gets_the_features_and_scores_of_the_stream_to_the_last_bit(
    flights: Project, tmp_path: Path, processes: str
) -> None:
    out = tmp_path / "scores.parquet"
    done = flights.run("score", "flights", "--processes", processes, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"{FLIGHTS:,} rows by v1 after" in done.stdout
    assert "events without a score: none" in done.stdout
    rows = rows_of(out)
    assert len({row["id"] for row in rows}) == len(rows) == FLIGHTS
    assert as_streamed(flights, rows) >= FLIGHTS - LEARNED


@pytest.mark.parametrize("processes", ["1", "4"])
def test_features_that_aggregate_events_of_two_partitions_are_those_of_the_stream(
    visited: Project, tmp_path: Path, processes: str
) -> None:
    rows = scored(visited, tmp_path / "scores.parquet", "visits", "--processes", processes)
    assert sorted(row["id"] for row in rows) == [f"V{each:06}" for each in range(2000)]
    assert as_streamed(visited, rows) >= 1000


def test_a_part_reads_only_what_can_count_in_its_windows(visited: Project) -> None:
    running = visited.engine()
    with visited.broker() as broker:
        ends = {f"{p.topic}/{p.partition}": end for p, end in broker.ends(["visits", "refunds"]).items()}
        bounds = Bounds(NOON + 10_000 * MINUTE, ends)
        history = BatchHistory(running.pipeline, PLAN, broker, bounds, None)
        last = {log: (end - 10, end) for log, (_, end) in history.everything().items()}
        read = [record.timestamp for record in history.records(last)]
    assert NOON + 1500 * MINUTE < min(read) < NOON + 1900 * MINUTE


def events_file(file: Path, records: Sequence[Outgoing]) -> Path:
    bodies = [orjson.loads(record.value or b"") for record in records if record.topic == "visits"]
    pq.write_table(pa.Table.from_pylist(bodies), file)
    return file


def test_the_events_of_a_file_get_the_features_that_the_log_has_for_their_moment(
    visited: Project, tmp_path: Path
) -> None:
    project, records = visits_project(tmp_path / "project"), visits(2000)
    evening = NOON + 1500 * MINUTE
    tonight = [record for record in records if record.topic == "visits" and record.timestamp >= evening]
    run_stream(project, [record for record in records if record not in tonight], NOON + 1000 * MINUTE)

    out = tmp_path / "scores.parquet"
    rows = scored(project, out, str(events_file(tmp_path / "tonight.parquet", tonight)), "--processes", "2")
    assert [row["id"] for row in rows] == [f"V{each:06}" for each in range(1500, 2000)]
    assert as_streamed(visited, rows) == 500


def test_an_event_of_the_file_that_is_on_the_topic_too_counts_once(visited: Project, tmp_path: Path) -> None:
    some = events_file(tmp_path / "some.parquet", visits(2000)[3000:])
    rows = scored(visited, tmp_path / "scores.parquet", str(some))
    assert 300 < len(rows) < 2000
    assert as_streamed(visited, rows) == len(rows)


def test_a_run_that_was_stopped_goes_on_with_its_model_and_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, records = visits_project(tmp_path / "project"), visits(1500)
    run_stream(project, records[:2000], NOON + 400 * MINUTE)
    expected = scored(project, tmp_path / "expected.parquet", "visits")

    add, calls = BatchFolder.add, []

    def stopped(self: BatchFolder, *rest: object) -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(rest)
        add(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.jobs.batch.scoring.PIECE", 100)
    monkeypatch.setattr("flows.jobs.batch.scoring._BATCH", 60)
    monkeypatch.setattr(BatchFolder, "add", stopped)
    out = tmp_path / "scores.parquet"
    assert command(project, out, "visits").exit_code != 0
    assert not out.exists()
    assert len(list(BatchFolder(out).path.glob("part-0000/*.parquet"))) == 3

    monkeypatch.setattr(BatchFolder, "add", add)
    project.send(records[2000:])
    for flow in ("predict", "learn"):  # further events and a further state of the model
        run_flow(project.engine(), flow)
    assert scored(project, out, "visits") == expected


def is_free(lock: Path) -> bool:
    with try_exclusive_lock(lock) as held:
        return held


def test_a_run_whose_processes_are_killed_goes_on_without_a_loss_or_a_repetition(tmp_path: Path) -> None:
    project = visits_project(tmp_path / "project")
    records = visits(40_000)
    project.send(
        [record for record in records if record.topic != "visit_labels" or record.timestamp < NOON + HOUR * 2]
    )
    run_flow(project.engine(), "learn")
    expected = scored(project, tmp_path / "expected.parquet", "visits")

    out = tmp_path / "scores.parquet"
    running = project.start(DRIFTLINE, "score", "visits", "--processes", "2", "--out", str(out))
    unfinished = BatchFolder(out).path
    wait_until(lambda: any(unfinished.glob("part-*/*.parquet")) or running.process.poll() is not None, 60)
    running.process.kill()
    running.process.wait()
    assert unfinished.exists(), running.said()
    wait_until(lambda: is_free(unfinished / "lock"), 30)  # its processes end with it
    again = project.run("score", "visits", "--out", str(out))
    assert again.returncode == 0, again.stderr
    assert "going on with" in again.stderr
    rows = rows_of(out)
    assert sorted(rows, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])
    assert len(rows) == 40_000


def test_events_that_cannot_be_scored_are_counted_by_their_reason(tmp_path: Path) -> None:
    project, records = visits_project(tmp_path / "project"), visits(60)
    run_stream(project, records, NOON + 30 * MINUTE)
    bad = Outgoing("visits", b'{"id": "broken"}', b"broken", timestamp=NOON + HOUR)
    project.send([bad, next(record for record in records if record.topic == "visits")])
    done = command(project, tmp_path / "scores.parquet", "visits")
    assert done.exit_code == 0, done.exception
    assert "60 rows" in done.stdout
    assert "1 schema" in done.stdout
    assert "1 duplicate" in done.stdout


def test_the_features_of_batch_views_are_joined_as_of_the_time_of_each_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = visits_project(tmp_path / "project")
    project.send(visits(60))
    run_flow(project.engine(), "learn")
    staff = Lookup("staff", (Input("user", "string"),), (Output("minute", "int"),), HOUR)
    PipelineState(project.directory / ".driftline", "visits").keep_plan(replace(PLAN, lookups=(staff,)))

    def past_lookups(_: object, plan: FeaturePlan, questions: Sequence[Question]) -> dict:
        assert plan.lookups == (staff,)
        return {(each.id, each.time): [(each.time - NOON) // MINUTE] for each in questions}

    monkeypatch.setattr("flows.adapters.feast.feature_stores.FeatureStores.past_lookups", past_lookups)
    rows = scored(project, tmp_path / "scores.parquet", "visits")
    assert [row["staff__minute"] for row in rows] == list(range(60))


def test_a_version_is_chosen_by_name(visited: Project, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    assert scored(visited, out, "visits", "--version", "models:/visits/v1")[0]["model"] == "v1"
    error = command(visited, out, "visits", "--version", "v9").exception
    assert isinstance(error, DriftlineError)
    assert "v9" in str(error)


def test_an_unfinished_run_with_something_else_is_refused(
    visited: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "scores.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(BatchFolder, "add", stopped)
        command(visited, out, "visits")
    error = command(visited, out, "visits", "--version", "v1").exception
    assert isinstance(error, ConfigError)
    assert "an unfinished batch whose version is champion, got v1" in str(error)


def test_the_events_must_be_the_topic_or_a_file(visited: Project, tmp_path: Path) -> None:
    error = command(visited, tmp_path / "scores.parquet", "refunds").exception
    assert isinstance(error, ConfigError)
    assert "EVENTS must be the topic 'visits' or a parquet file" in str(error)


def test_the_folder_of_the_output_must_exist(visited: Project, tmp_path: Path) -> None:
    error = command(visited, tmp_path / "nowhere" / "scores.parquet", "visits").exception
    assert isinstance(error, ConfigError)
    assert "does not exist" in str(error)
