"""Data of another version are refused in one line, with exit code 2 and no traceback."""

import base64
import json
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from harness import Project, run_flow
from made_flights import traffic

from flows.adapters.sqlite.seed import write_seed
from flows.core.stream.broker import Outgoing

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
OLDER = ("d9eb49b", "b6662ef")
VERSIONS = (*OLDER, "future")
SECRET = "the secret of the fixtures, which protects nothing"  # noqa: S105
PIPELINE = "flight_delays"
BEFORE_0_2_0 = "got none (stored before Driftline 0.2.0)"


@pytest.fixture
def project(applied: Project, tmp_path: Path) -> Project:
    return applied.copy_to(tmp_path / "project").with_settings(SECRET=SECRET, HTTP_PORT=0)


def plan_of(project: Project) -> Path:
    return project.directory / ".driftline" / "plans" / f"{PIPELINE}.json"


def state_of(project: Project) -> Path:
    return project.directory / ".driftline" / "state" / PIPELINE


def stored_by(version: str, project: Project) -> Path:
    """A folder with what the version stored."""
    folder = project.directory / version
    if version in OLDER:
        with tarfile.open(STORED / f"{version}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return folder
    folder.mkdir()
    project.send(traffic(5))
    run_flow(project.engine(), "predict")
    store = (state_of(project) / "predict").rename(folder / "predict")
    (store / "format").write_text("driftline-state/8\n")
    plan = orjson.loads(plan_of(project).read_bytes())
    (folder / "plan.json").write_bytes(orjson.dumps({**plan, "format": "driftline-plan/3", "more": 1}))
    write_seed(folder / "seed.db", "of its own", {}, [b"{}"], [])
    with closing(sqlite3.connect(folder / "seed.db")) as seed:
        seed.execute("PRAGMA user_version = 3")
    return folder


NEXT = {"state": 8, "plan": 3}


def got(version: str, kind: str) -> str:
    return BEFORE_0_2_0 if version in OLDER else f"got 'driftline-{kind}/{NEXT[kind]}'"


def refusal(outcome: subprocess.CompletedProcess) -> str:
    """The one line with which a command refused."""
    assert outcome.returncode == 2, outcome.stderr
    assert "Traceback" not in outcome.stdout + outcome.stderr
    (line,) = (line for line in outcome.stderr.splitlines() if "must be of format" in line)
    return line


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_of_another_version_is_refused_in_one_line(project: Project, version: str) -> None:
    plan_of(project).write_bytes((stored_by(version, project) / "plan.json").read_bytes())
    for command in (("run", "predict"), ("backtest", "--events", "10")):
        expected = f"the feature plan must be of format driftline-plan/2, {got(version, 'plan')}"
        assert f"{expected}; run `driftline apply`" in refusal(project.run(*command))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_seed_of_another_version_is_refused_in_one_line(project: Project, version: str) -> None:
    folder, file = stored_by(version, project), state_of(project) / "seed.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "seed.db", file)
    named = "driftline-seed/3" if version == "future" else "driftline-seed/1"
    expected = f"{file} must be of format driftline-seed/2, got '{named}'; remove it"
    assert expected in refusal(project.run("run", "predict"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_state_of_another_version_is_refused_in_one_line(project: Project, version: str) -> None:
    folder, state = stored_by(version, project), state_of(project)
    state.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder / "predict", state / "predict")
    expected = f"state in {state}/predict must be of format driftline-state/7, {got(version, 'state')}"
    for command in (("run", "predict"), ("apply",)):
        said = refusal(project.run(*command))
        assert f"{expected}; stop the flows, remove the folder {state}, and start them again" in said


def test_apply_replaces_the_plan_of_an_older_version(project: Project) -> None:
    file = plan_of(project)
    file.write_bytes((stored_by(OLDER[0], project) / "plan.json").read_bytes())
    outcome = project.run("apply")
    assert outcome.returncode == 0, outcome.stderr
    assert orjson.loads(file.read_bytes())["format"] == "driftline-plan/2"


@pytest.mark.parametrize("version", OLDER)
def test_a_model_message_of_an_older_version_is_a_dead_letter(project: Project, version: str) -> None:
    stored = json.loads((stored_by(version, project) / "models.json").read_text())
    project.send([message(each) for each in stored])
    project.send(traffic(5))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    letters = [dict(letter.headers) for letter in project.records("dead-letters")]
    assert [letter["reason"] for letter in letters] == [b"signature"]
    assert f"must be of format driftline-model/2, {BEFORE_0_2_0}" in letters[0]["detail"].decode()
    assert len(project.records("predictions")) == 5


def message(stored: dict) -> Outgoing:
    headers = tuple((name, base64.b64decode(value)) for name, value in stored["headers"].items())
    return Outgoing(
        f"{PIPELINE}.models", base64.b64decode(stored["value"]), b"v1", timestamp=1, headers=headers
    )
