"""Integers as keys and ids, labels 0 and 1, times in epoch units: through the flows, the stores and Feast."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Project, run_flow
from made_machines import LARGE, MINUTE, START, check, machines, outcome, reading, traffic
from materializing import run as run_materialize
from materializing import store_of
from typer.testing import CliRunner

from flows.cli.app import app

CHECKS = 120


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, applied. For copying only."""
    project = machines(tmp_path_factory.mktemp("machines") / "project")
    outcome = project.run("apply")
    assert outcome.returncode == 0, outcome.stderr
    return project


@pytest.fixture
def running(applied: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """That project; what is imported from it is forgotten again."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(applied.directory)
    return applied


def command(*arguments: str) -> str:
    """A command in this process, for starting one takes seconds; what it prints."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_everything_is_served_stored_verified_and_read_by_feast_with_keys_that_are_integers(
    running: Project, tmp_path: Path
) -> None:
    running.send(traffic(CHECKS))
    engine = running.engine()
    for flow in ("predict", "learn"):
        run_flow(engine, flow)
    run_materialize(engine)

    assert running.records("dead-letters") == []
    answers = {p["id"]: p for p in running.values("predictions")}
    assert len(answers) == CHECKS
    assert {type(p["keys"][0]) for p in answers.values()} == {int, type(None)}
    assert {p["keys"][0] for p in answers.values()} == {1, -7, LARGE, LARGE + 1, None}
    assert {p["keys"][1] for p in answers.values()} == {"1", "2"}
    names = engine.pipeline.feature_names(engine.state.plan())
    row = dict(zip(names, answers["1"]["features"], strict=True))
    assert (row["is_manual"], row["due"], row["due__minutes"]) == (True, START + 91 * MINUTE, 90.0)
    assert running.values("metrics")[-1]["labels"] == CHECKS
    learned = [m for m in running.records("models") if dict(m.headers)["role"] == b"champion"][-1]
    assert orjson.loads(learned.value)["learned"] == CHECKS

    report = orjson.loads(command("verify", "features", "--json"))
    for view in report["views"]:
        counted = [view[what] for what in ("equal", "explained", "mismatches", "feast_mismatches")]
        assert counted == [CHECKS if view["view"] != "due" else 0, 0, 0, 0], view
        assert view["feast_rows"] == CHECKS - (0 if view["view"] != "machine_readings" else keyless(answers))

    for name, more in (("served", []), ("joined", ["--through-feast"])):
        command("training-set", str(tmp_path / name), *more)
    served, joined = (pq.read_table(tmp_path / name) for name in ("served", "joined"))
    assert served.equals(joined)
    assert (served.num_rows, served.schema.field("machine").type) == (CHECKS, pa.int64())
    assert Counter(served["label"].to_pylist()) == {True: CHECKS // 2, False: CHECKS // 2}
    assert served["due"].cast(pa.int64()).to_pylist()[1] == START + 91 * MINUTE

    store = store_of(running)
    features = ["machine_readings:n", "machine_readings:sensors"]
    read = store.get_online_features(
        features, [{"machine": k} for k in (1, -7, LARGE, LARGE + 1, 2)]
    ).to_dict()
    counts = Counter(p["keys"][0] for p in answers.values())
    assert read["n"] == [counts[1], counts[-7], counts[LARGE], counts[LARGE + 1], None]
    assert read["sensors"] == [2, 2, 2, 2, None]
    assert store.get_online_features(["site_checks:n"], [{"site": "1"}]).to_dict()["n"] != [None]


def keyless(answers: dict[str, dict]) -> int:
    return sum(answer["keys"][0] is None for answer in answers.values())


def test_a_key_of_the_other_type_and_a_time_in_another_unit_are_dead_letters_that_say_so(
    applied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = applied.copy_to(tmp_path / "copy")
    shutil.rmtree(project.directory / ".driftline" / "state", ignore_errors=True)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    time = START + 10_000 * MINUTE
    project.make_topics()
    project.send(
        [
            check(1, time, "1"),
            check(2, time, 1, site=1),  # type: ignore[arg-type]
            reading(3, time, 1.0),
            check(4, time, 1, at=time),
            reading(5, time, 1, at=time),
            check(6, time, 1, is_manual=True),
            check(7, time, 1),
            check(7, time, 1, check="7"),
            outcome(7, time, failed=True),
            outcome(8, time, failed=2),
            outcome(7, time, failed=1),
        ]
    )
    engine = project.engine()
    for flow in ("predict", "learn"):
        run_flow(engine, flow)
    assert [answer["id"] for answer in project.values("predictions")] == ["7"]
    assert project.values("metrics")[-1]["labels"] == 1
    told: dict[str, list[str]] = {}
    for letter in project.records("dead-letters"):
        headers = {name: value.decode() for name, value in letter.headers}
        told.setdefault(headers["topic"], []).append(headers["detail"])
    assert told == {
        "checks": [
            "field 'machine' must be an integer, as the key is declared, got '1'",
            "field 'site' must be a string, as the key is declared, got 1",
            f"field 'at' must be a time in s between the years 1970 and 2100, got {time}; it looks like "
            "milliseconds: declare Time(unit='ms')",
            "field 'is_manual' must be 'yes' or 'no', as declared, got True",
            "a record with the id '7' was accepted before",
        ],
        "readings": [
            "field 'machine' must be an integer, as the key is declared, got 1.0",
            f"field 'at' must be a time in ns, got {time}, which would be 1970-01-01; it looks like "
            "milliseconds: declare Time(unit='ms')",
        ],
        "outcomes": [
            "field 'failed' must be 1 or 0, as declared, got True",
            "field 'failed' must be 1 or 0, as declared, got 2",
        ],
    }
