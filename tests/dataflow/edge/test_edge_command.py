"""`driftline export edge` and `driftline-edge`: the scores of the stream where there is only Python."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from harness import Project, run_flow
from made_flights import MINUTE, NOON, traffic
from typer.testing import CliRunner

from flows.cli.app import app
from flows.errors import ConfigError, DriftlineError

FLIGHTS = 300
LEARNED = NOON + 200 * MINUTE  # labels up to here are learned before the last flights are predicted
BARE = (sys.executable, "-I", "-S")  # without the packages of the environment, numpy included


def command(project: Project, *arguments: str) -> Result:
    with chdir(project.directory):
        return CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def flights(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project after a run, with a package and the runtime; no test changes it."""
    project = applied.copy_to(tmp_path_factory.mktemp("flights") / "project")
    project.make_topics()
    early = [record for record in traffic(FLIGHTS) if record.timestamp < LEARNED]
    project.send(early)
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    project.send([each for each in traffic(FLIGHTS) if each.timestamp >= LEARNED and each.topic == "flights"])
    run_flow(project.engine(), "predict")
    for arguments in (("edge", "champion", "--out", "package"), ("runtime", "--out", "driftline-edge")):
        done = command(project, *arguments)
        assert done.exit_code == 0, done.exception
    return project


def events(project: Project) -> list[dict]:
    running = project.engine()
    names = running.pipeline.feature_names(running.state.plan())
    return [
        {"id": value["id"], "features": dict(zip(names, value["features"], strict=True))}
        for value in project.values("predictions")
    ]


def edge(
    project: Project, lines: Sequence[object], package: Path | None = None
) -> subprocess.CompletedProcess:
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    arguments = [*BARE, project.directory / "driftline-edge", package or project.directory / "package"]
    return subprocess.run(arguments, input=text, capture_output=True, text=True, timeout=60)


def test_a_bare_python_gives_the_scores_of_the_stream_to_the_last_bit(flights: Project) -> None:
    done = edge(flights, events(flights))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    served = flights.values("predictions")
    assert [each["id"] for each in answers] == [each["id"] for each in served]
    pairs = [(a, s) for a, s in zip(answers, served, strict=True) if a["learned"] == s["learned"]]
    assert len(pairs) >= 100
    assert all(
        mine["score"] == theirs["score"] and mine["model"] == theirs["model"] for mine, theirs in pairs
    )


def test_the_package_and_the_runtime_are_small(flights: Project) -> None:
    package = flights.directory / "package"
    assert {each.name for each in package.iterdir()} == {"model.json", "prepare.py", "signature.json"}
    assert sum(each.stat().st_size for each in package.iterdir()) < 50_000
    assert (flights.directory / "driftline-edge").stat().st_size < 30_000


def test_a_line_that_cannot_be_scored_gets_an_error_and_the_others_their_scores(flights: Project) -> None:
    good = events(flights)[0]
    bad = {"id": "E2", "features": {**good["features"], "minute_of_day": 5000}}
    answers = [json.loads(line) for line in edge(flights, ["{\n", good, bad, "\n", good]).stdout.splitlines()]
    assert ["score" in each for each in answers] == [False, True, False, True]
    assert "must be JSON" in answers[0]["error"]
    assert answers[2] == {"id": "E2", "error": answers[2]["error"]}
    assert "'minute_of_day' must be from 0 to 1439, got 5000" in answers[2]["error"]


def altered(project: Project, folder: Path, name: str, old: str, new: str) -> Path:
    folder.mkdir()
    for each in (project.directory / "package").iterdir():
        (folder / each.name).write_bytes(each.read_bytes())
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("model.json", '"intercept": ', '"intercept": 1', "is not what was signed"),
        ("prepare.py", "def prepare", "print('run')\n\ndef prepare", "is not what was signed"),
        ("signature.json", "prepare.py", "another.py", "is not signed with the key"),
    ],
)
def test_an_altered_package_is_refused_and_none_of_its_code_runs(
    flights: Project, tmp_path: Path, name: str, old: str, new: str, said: str
) -> None:
    done = edge(flights, [], altered(flights, tmp_path / "package", name, old, new))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_package_of_another_project_is_refused(flights: Project, tmp_path: Path) -> None:
    other = flights.with_settings(SECRET="x" * 32)
    done = other.run("export", "runtime", "--out", str(tmp_path / "driftline-edge"))
    assert done.returncode == 0, done.stderr
    arguments = [*BARE, tmp_path / "driftline-edge", flights.directory / "package"]
    refused = subprocess.run(arguments, input="", capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "is not signed with the key" in refused.stderr


@contextmanager
def served(project: Project) -> Iterator[str]:
    directory = project.directory
    arguments = [*BARE, directory / "driftline-edge", directory / "package", "--http", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http://127.0.0.1:" in line
        yield line.split()[-1]
        process.terminate()
        assert process.wait(20) == 0


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, list[dict]]:
    answer = httpx.request("GET" if body is None else "POST", url, content=body, headers=headers, timeout=20)
    return answer.status_code, [json.loads(line) for line in answer.text.splitlines()]


def test_the_loopback_server_answers_lines_and_refuses_the_rest(flights: Project) -> None:
    first, second = events(flights)[:2]
    expected = [json.loads(line) for line in edge(flights, [first, second]).stdout.splitlines()]
    with served(flights) as url:
        assert ask(f"{url}/score", b"\n".join(json.dumps(each).encode() for each in (first, second))) == (
            200,
            expected,
        )
        status, (health,) = ask(f"{url}/health")
        assert (status, health["ready"], health["pipeline"]) == (200, True, "flight_delays")
        assert ask(f"{url}/nowhere")[0] == 404
        assert ask(f"{url}/score", b" " * (2**20 + 1))[0] == 413
        assert ask(f"{url}/health", Host="attacker.example")[0] == 403


def test_a_model_with_another_step_is_refused_by_its_name(
    flights: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.core.exporting.edge_form._LINKS", {})
    error = command(flights, "edge", "champion", "--out", str(tmp_path / "package")).exception
    assert isinstance(error, ConfigError)
    assert "LogisticRegression cannot be exported to the edge" in str(error)


def test_a_package_that_scores_otherwise_is_not_left(
    flights: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.edge.model._LINKS", {"logistic": lambda number: number})
    error = command(flights, "edge", "champion", "--out", str(tmp_path / "package")).exception
    assert type(error) is DriftlineError
    assert "must give the model's scores to the last bit" in str(error)
    assert list(tmp_path.iterdir()) == []
