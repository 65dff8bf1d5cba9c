"""What another version stored is refused in one line, with the exit code of a mistake and no traceback."""

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
from flows.core.models.snapshots import SIGNATURE
from flows.core.stream.broker import Outgoing

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
OLDER = ("d9eb49b", "b6662ef")
VERSIONS = (*OLDER, "future")
SECRET = "the secret of the fixtures, which protects nothing"  # noqa: S105
BEFORE_0_2_0 = "got none (stored before Driftline 0.2.0)"


@pytest.fixture
def project(applied: Project, tmp_path: Path) -> Project:
    return applied.copy_to(tmp_path / "project").with_settings(SECRET=SECRET)


def stored_by(version: str, project: Project) -> Path:
    """A folder with what the version stored."""
    folder = project.directory / version
    if version in OLDER:
        with tarfile.open(STORED / f"{version}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return folder
    folder.mkdir()
    running = project.engine()
    project.send(traffic(5))
    run_flow(running, "predict")
    store = running.recovery_dir("predict").rename(folder / "predict")
    (store / "format").write_text("driftline-state/3\n")
    plan = orjson.loads(running.plan_file.read_bytes())
    (folder / "plan.json").write_bytes(orjson.dumps({**plan, "format": "driftline-plan/3", "more": 1}))
    write_seed(folder / "seed.db", running.plan().hash, {}, [b"{}"], [])
    with closing(sqlite3.connect(folder / "seed.db")) as seed:
        seed.execute("PRAGMA user_version = 3")
    return folder


def got(version: str, kind: str) -> str:
    return BEFORE_0_2_0 if version in OLDER else f"got 'driftline-{kind}/3'"


def lines(outcome: subprocess.CompletedProcess) -> list[str]:
    """The lines that name a format."""
    assert "Traceback" not in outcome.stdout + outcome.stderr
    return [line for line in outcome.stderr.splitlines() if "must be of format" in line]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_another_version_stored_is_refused_in_one_line(project: Project, version: str) -> None:
    running, folder = project.engine(), stored_by(version, project)
    state = running.recovery_dir("predict")
    plan, found = running.plan_file.read_bytes(), got(version, "state")
    state.parent.mkdir(parents=True, exist_ok=True)

    running.plan_file.write_bytes((folder / "plan.json").read_bytes())
    for command in (("run", "predict"), ("backtest", "--events", "10")):
        outcome = project.run(*command)
        assert outcome.returncode == 2, outcome.stderr
        (line,) = lines(outcome)
        expected = f"the feature plan must be of format driftline-plan/2, {got(version, 'plan')}"
        assert f"{expected}; run `driftline apply`" in line
    running.plan_file.write_bytes(plan)

    shutil.copyfile(folder / "seed.db", running.seed_file)
    outcome = project.run("run", "predict")
    assert outcome.returncode == 2, outcome.stderr
    (line,) = lines(outcome)
    named = got(version, "seed") if version == "future" else "got 'driftline-seed/1'"
    assert f"seed.db must be of format driftline-seed/2, {named}; remove it" in line
    running.seed_file.unlink()

    shutil.copytree(folder / "predict", state)
    for command in (("run", "predict"), ("apply",)):
        outcome = project.run(*command)
        assert outcome.returncode == 2, outcome.stderr
        (line,) = lines(outcome)
        expected = f"the flow's state in {state} must be of format driftline-state/2, {found}"
        assert f"{expected}; stop the flows, remove the folder {state.parent}, and start" in line
    shutil.rmtree(state.parent)


def test_apply_replaces_the_plan_of_an_older_version(project: Project) -> None:
    file, folder = project.engine().plan_file, stored_by(OLDER[0], project)
    file.write_bytes((folder / "plan.json").read_bytes())
    outcome = project.run("apply")
    assert outcome.returncode == 0, outcome.stderr
    assert orjson.loads(file.read_bytes())["format"] == "driftline-plan/2"


@pytest.mark.parametrize("version", OLDER)
def test_a_model_message_of_an_older_version_is_a_dead_letter(project: Project, version: str) -> None:
    running, folder = project.engine(), stored_by(version, project)
    project.send([message(each, running.pipeline.topic("models")) for each in models(folder)])
    project.send(traffic(5))
    run_flow(running, "predict")
    run_flow(running, "learn")
    letters = [letter for letter in project.records("dead-letters") if SIGNATURE in dict(letter.headers)]
    assert len(letters) == len(models(folder)) > 0
    for letter in letters:
        headers = dict(letter.headers)
        assert headers["reason"] == b"signature"
        assert f"must be of format driftline-model/2, {BEFORE_0_2_0}" in headers["detail"].decode()
    assert len(project.records("predictions")) == 5


def models(folder: Path) -> list[dict]:
    found: list[dict] = json.loads((folder / "models.json").read_text())
    return found


def message(stored: dict, topic: str) -> Outgoing:
    headers = tuple((name, base64.b64decode(value)) for name, value in stored["headers"].items())
    return Outgoing(topic, base64.b64decode(stored["value"]), b"v1", timestamp=1, headers=headers)
