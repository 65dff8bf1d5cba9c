"""A mistake of the user is one line on standard error that says what to do, without a traceback."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project
from places import SHIPPED

from flows.cli.app import main

MISTAKE, OUTAGE = 2, 1
Told = Callable[..., str]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Told:
    """Return a function that runs a command in this process and returns the one line of its error."""

    def tell(project: Project, *arguments: str, code: int = MISTAKE, **settings: object) -> str:
        for name in [name for name in os.environ if name.startswith("DRIFTLINE_")]:
            monkeypatch.delenv(name)
        for name, value in project.with_settings(**settings).environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(project.directory)
        monkeypatch.setattr(sys, "argv", ["driftline", *arguments])
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        monkeypatch.setattr(sys, "path", sys.path.copy())
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        return one_line(end.value.code, said.out, said.err, code)

    return tell


def one_line(code: int, out: str, err: str, expected: int) -> str:
    assert "Traceback" not in err
    assert code == expected, err
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("driftline: ")
    return line


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """A project that was never applied."""
    project = Project(tmp_path / "bare")
    shutil.copytree(SHIPPED, project.directory / "feature_repo")
    declare(project, "flows.pipelines.flight_delays")
    return project


def declare(project: Project, module: str) -> None:
    (project.directory / "driftline.toml").write_text(f'pipelines = ["{module}"]\n')


def test_a_directory_that_is_no_project(told: Told, tmp_path: Path) -> None:
    line = told(Project(tmp_path), "run")
    assert "not in a Driftline project" in line
    assert "[tool.driftline]" in line
    assert "driftline.toml" in line


def test_the_process_ends_with_the_code_and_the_line(project: Project, tmp_path: Path) -> None:
    for place, environment, code in (
        (Project(tmp_path), {}, MISTAKE),
        (project, {"DRIFTLINE_BROKER": "kafka://127.0.0.1:9"}, OUTAGE),
    ):
        outcome = place.run("topics", **environment)
        one_line(outcome.returncode, outcome.stdout, outcome.stderr, code)


def test_a_report_that_cannot_be_written_before_the_backtest_runs(told: Told, applied: Project) -> None:
    line = told(applied, "backtest", "--events", "10", "--report", "nowhere/page.html")
    assert "--report must be a file that can be written, got nowhere/page.html (No such file" in line


@pytest.mark.parametrize("command", ["run", "publish", "topics", "backtest", "tail predictions"])
def test_a_project_that_was_not_applied(told: Told, bare: Project, command: str) -> None:
    assert "`driftline apply`" in told(bare, *command.split())


def test_an_unknown_flow(told: Told, project: Project) -> None:
    line = told(project, "run", "predikt")
    assert "'predikt'" in line
    assert "predict, learn, materialize, alert, retrain" in line


def test_one_process_of_several(told: Told, project: Project) -> None:
    line = told(project, "run", "--together", "--processes", "2")
    assert "--together is one process, got --processes 2" in line


def test_an_unknown_pipeline(told: Told, project: Project) -> None:
    assert "among: flight_delays" in told(project, "topics", "--pipeline", "fraud")


def test_a_broker_that_is_away(told: Told, project: Project) -> None:
    line = told(project, "run", code=OUTAGE, BROKER="kafka://127.0.0.1:9")
    assert "Kafka at 127.0.0.1:9 does not answer" in line
    assert "scripts/kafka start" in line


@pytest.mark.parametrize("url", ["redis://localhost:6379", "kafka://localhost", "file://relative.db"])
def test_an_address_that_is_no_brokers(told: Told, project: Project, url: str) -> None:
    assert "kafka://host:port" in told(project, "topics", BROKER=url)


def test_a_log_that_is_none(told: Told, project: Project, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes, which are no log\n" * 100)
    line = told(project, "topics", code=OUTAGE, BROKER=f"file://{tmp_path}/notes.txt")
    assert "notes.txt" in line


def test_wrong_topics(told: Told, project: Project) -> None:
    (project.directory / "some.jsonl").write_text("{}\n")
    line = told(project, "publish", "some.jsonl", "--topic", "fligths")
    assert "'fligths'" in line
    assert "flights, departures, arrivals, flight_labels" in line
    line = told(project, "tail", "fligths")
    assert "topic 'fligths' does not exist; name one of predictions, features" in line
    assert "or an existing topic: flights, departures, arrivals, flight_labels, flight_delays." in line
    assert "apply" not in line


@pytest.mark.parametrize("command", ["apply", "run", "publish", "topics", "backtest", "backfill"])
def test_a_state_directory_that_cannot_be_one(told: Told, project: Project, command: str) -> None:
    (project.directory / "taken").write_text("")
    line = told(project, command, STATE_DIR="taken")
    assert "/taken cannot be used: there is something else in its place; " in line
    assert "apply" not in line


def test_a_state_directory_that_cannot_be_written(told: Told, project: Project) -> None:
    line = told(project, "run", STATE_DIR="/proc/driftline")
    assert "the state directory /proc/driftline cannot be used: " in line
    assert "let this user write it, or set DRIFTLINE_STATE_DIR to another directory" in line


def test_a_place_without_a_dead_letter(told: Told, project: Project) -> None:
    for place in ("0/99", "1/0", "0/-1", "x"):
        line = told(project, "dead-letters", "show", place)
        assert (
            f"PARTITION/OFFSET must be the place of a dead letter, got '{place}'; `driftline dead-letters"
            in line
        )


def test_a_file_that_is_not_there_or_no_records(told: Told, project: Project) -> None:
    assert "missing.jsonl" in told(project, "publish", "missing.jsonl")
    (project.directory / "bad.jsonl").write_text('{"flight_id": "F1"}\n')
    assert "dead letters: line 1: field" in told(project, "publish", "bad.jsonl")


DECLARATIONS = {
    "missing argument": ("from flows.pipeline import Pipeline\npipeline = Pipeline(name='x')", "missing"),
    "syntax": ("pipeline = (", "SyntaxError"),
    "unknown import": ("import no_such_module", "no_such_module"),
    "no pipeline": ("x = 1", "defines no `pipeline`"),
    "something else": ("pipeline = {}", "must be a flows.pipeline.Pipeline"),
}


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_pipeline_that_is_wrong(told: Told, bare: Project, name: str) -> None:
    source, reason = DECLARATIONS[name]
    (bare.directory / "mine.py").write_text(source)
    declare(bare, "mine")
    line = told(bare, "topics")
    assert "'mine'" in line or "mine.pipeline" in line
    assert reason in line


REPLACED = "from dataclasses import replace\nfrom flows.pipelines.flight_delays import pipeline\n"
DISAGREEMENTS = {
    "service": (REPLACED + "pipeline = replace(pipeline, service='delays')", "feature service 'delays'"),
    "sources": (REPLACED + "pipeline = replace(pipeline, sources=())", "add it to `sources`"),
    "entities": (REPLACED + "pipeline = replace(pipeline, entities=())", "must declare the entity"),
    "target": (REPLACED + "pipeline = replace(pipeline, target='delayed')", "'delayed'"),
    "inputs": (REPLACED + "pipeline = replace(pipeline, inputs=('weather',), slices=())", "'weather'"),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_a_declaration_that_disagrees_with_the_features(told: Told, bare: Project, name: str) -> None:
    source, reason = DISAGREEMENTS[name]
    (bare.directory / "mine.py").write_text(source)
    declare(bare, "mine")
    assert reason in told(bare, "apply")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("from datetime import", "from datetimes import", "datetimes"),
        ('function="mean"', 'function="median"', "'median' is not supported"),
        ("flight_delays = FeatureService(", "flight_delays = FeatureServices(", "FeatureServices"),
    ],
)
def test_a_feature_repository_that_is_wrong(
    told: Told, bare: Project, old: str, new: str, reason: str
) -> None:
    file = bare.directory / "feature_repo" / "flights.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    assert reason in told(bare, "apply")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH", "many"),
        ("BATCH", "0"),
        ("BATCH", "nan"),
        ("EPOCH_SECONDS", "-1"),
        ("MODEL_SECONDS", "inf"),
        ("HTTP_PORT", "70000"),
        ("HTTP_PORT", "65535"),
        ("WEBHOOK_ALLOW_PRIVATE", "perhaps"),
        ("WEBHOOK_URL", "ftp://example.org"),
    ],
)
def test_a_setting_that_is_wrong(told: Told, project: Project, name: str, value: str) -> None:
    assert f"DRIFTLINE_{name}" in told(project, "run", **{name: value})


def test_an_unknown_kafka_option_and_no_secret_in_what_is_said(told: Told, project: Project) -> None:
    secret = {"KAFKA_SASL_PASSWORD": "hush-hush", "KAFKA_SASL_COLOUR": "blue"}
    line = told(project, "topics", BROKER="kafka://127.0.0.1:9", **secret)
    assert "sasl.colour" in line
    assert "hush" not in line


def test_a_mistyped_variable_is_a_warning_and_the_command_goes_on(project: Project) -> None:
    outcome = project.run("topics", "--json", DRIFTLINE_BACH="5")
    assert outcome.returncode == 0
    assert outcome.stderr == (
        "driftline: warning: DRIFTLINE_BACH is not a setting and is ignored; did you mean DRIFTLINE_BATCH?\n"
    )


def test_no_name_of_a_pipeline_leads_out_of_the_state_directory(told: Told, bare: Project) -> None:
    (bare.directory / "mine.py").write_text(
        REPLACED + "pipeline = replace(pipeline, name='../../../outside/x')"
    )
    declare(bare, "mine")
    line = told(bare, "apply")
    assert f"{bare.directory / 'mine.py'}:3: pipeline '../../../outside/x': `name` must have only" in line
    assert not list(bare.directory.parent.rglob("outside"))


def test_a_store_configuration_that_is_not_there(told: Told, project: Project) -> None:
    assert "nowhere.yaml" in told(project, "apply", FEATURE_STORE="nowhere.yaml")


UNBOUNDED = """
from dataclasses import replace
from flows.core.stream.fields import Number
from flows.pipelines import flight_delays

def unbounded(stream, name, number):
    return replace(stream, fields={**stream.fields, name: number})

shipped = flight_delays.pipeline
departures, arrivals = shipped.sources
pipeline = replace(
    shipped,
    events=unbounded(unbounded(shipped.events, "minute_of_day", Number(low=0)), "distance", Number()),
    sources=(unbounded(departures, "delay", Number()), arrivals),
)
"""


def test_apply_names_in_one_line_the_numbers_without_a_range_that_the_model_depends_on(bare: Project) -> None:
    (bare.directory / "mine.py").write_text(UNBOUNDED)
    (bare.directory / "driftline.toml").write_text('pipelines = ["mine", "flows.pipelines.card_fraud"]\n')
    outcome = bare.run("apply")
    assert outcome.returncode == 0, outcome.stderr
    (warning,) = [line for line in outcome.stderr.splitlines() if "warning: " in line]
    assert warning == (
        "driftline: warning: flight_delays: no range is declared for flights.minute_of_day, "
        "departures.delay; declare Number(low, high), so that an impossible value becomes a dead letter and "
        "reaches no feature"
    )
