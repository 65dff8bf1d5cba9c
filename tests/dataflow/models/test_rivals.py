"""A challenger beside the champion: both compared, and the gates of a promotion."""

import os
import sys
from math import isclose
from pathlib import Path
from statistics import fmean

import orjson
import pytest
from harness import Project, records_of, run_flow
from made_flights import NOON
from made_numbers import NAMES, points, project_in
from river import linear_model, optim, preprocessing
from schemas import check_all
from served import serving

from flows.core.models.model import Model, ModelMessage
from flows.core.models.tasks import log_loss
from flows.core.stream.times import iso
from flows.errors import CommandRefused, ConfigError
from flows.runtime.engine import Engine

POINTS = 400
EARLIER = 1000  # points that the challenger has learned
GATES = ("labels", "gain", "log_likelihood_ratio")


def challenger() -> Model:
    """Return a model that knows what the champion has to learn."""
    estimator = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.5))
    records = [orjson.loads(record.value or b"") for record in points(EARLIER)]
    truths = {body["id"]: body["hit"] for body in records if "hit" in body}
    rows = [body for body in records if "hit" not in body]
    for row in rows:
        estimator.learn_one({name: row[name] for name in NAMES}, truths[row["id"]])
    return Model("v2", estimator, EARLIER)


def run_rivals(project: Project, number: int) -> Engine:
    """Let v1 serve a number of points, with v2 in the shadow, which only a person promotes."""
    running = project.engine()
    topic = running.pipeline.topic("models")
    lineage = {"parent": "v1", "cause": "schedule", "why": "a month has passed", "since": iso(NOON - 10)}
    message = ModelMessage("numbers", "candidate", NOON - 1, challenger(), lineage, 1)
    project.send([running.sealer().record(topic, message)])
    run_flow(running, "learn", until=lambda broker: len(records_of(broker, topic)) == 2)
    project.send(points(number))
    for flow in ("predict", "learn"):
        run_flow(running, flow)
    return running


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with two models that scored the same events, which no test changes."""
    project = project_in(tmp_path_factory.mktemp("rivals") / "project")
    run_rivals(project, POINTS)
    return project


def test_a_dry_run_shows_gates_that_are_passed_and_sends_nothing(rivals: Project) -> None:
    done = rivals.invoke("models", "promote", "challenger", "--dry-run")
    assert done.exit_code == 0, done.exception
    assert [line.split("│")[1].strip() for line in done.stdout.splitlines() if "yes" in line] == [*GATES]
    assert rivals.records("commands") == []


def test_the_gates_are_those_of_the_last_metrics_which_match_their_schema(rivals: Project) -> None:
    check_all("metrics", rivals.records("metrics"))
    labels, gain, ratio = rivals.values("metrics")[-1]["gates"]["v2"]
    assert labels == {"name": "labels", "value": POINTS, "required": 50, "passed": True}
    assert gain["value"] > gain["required"] == 0.0
    assert ratio["value"] > ratio["required"]


def test_a_gate_that_is_not_passed_gives_exit_code_1(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    run_rivals(project, 30)
    done = project.invoke("models", "promote", "v2", "--dry-run")
    assert done.exit_code == 1
    (of_labels,) = (line for line in done.stdout.splitlines() if "labels" in line)
    assert [cell.strip() for cell in of_labels.split("│")[1:-1]] == ["labels", "30", "50", "no"]


def test_without_a_label_there_are_no_gates_yet(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    run_rivals(project, 0)
    refused = project.invoke("models", "promote", "v2", "--dry-run").exception
    assert isinstance(refused, CommandRefused)
    assert "the learner has published no gates of 'v2' yet" in str(refused)


def test_the_champion_has_no_gates(rivals: Project) -> None:
    refused = rivals.invoke("models", "promote", "champion", "--dry-run").exception
    assert isinstance(refused, CommandRefused)
    assert "must be in the shadow to be promoted, got 'v1', which is champion" in str(refused)


def test_a_promotion_needs_a_reason(rivals: Project) -> None:
    assert "--reason must say why" in str(rivals.invoke("models", "promote", "v2").exception)


def truths(project: Project) -> dict[str, bool]:
    return {body["id"]: body["hit"] for body in project.values("point_labels")}


def test_two_versions_are_compared_over_the_labels_of_events_that_both_scored(rivals: Project) -> None:
    done = rivals.invoke("models", "compare", "champion", "challenger", "--json")
    assert done.exit_code == 0, done.exception
    found = orjson.loads(done.stdout)
    assert (found["first"], found["second"], found["labels"]) == ("v1", "v2", POINTS)

    hits, served = truths(rivals), rivals.values("predictions")
    likelihoods = [
        [score if hits[each["id"]] else 1 - score for each in served for score in [of(each)]]
        for of in (lambda each: each["score"], lambda each: each["shadows"]["v2"])
    ]
    measures = {each["name"]: each for each in found["measures"]}
    assert list(measures) == ["loss", "error_rate", "brier_score", "ROCAUC", "LogLoss"]
    first, second = (fmean(map(log_loss, each)) for each in likelihoods)
    loss = measures["loss"]
    assert isclose(loss["first"], first)
    assert isclose(loss["second"], second)
    assert isclose(loss["difference"], second - first)
    assert (loss["better"], loss["bigger_is_better"]) == ("v2", False)
    assert loss["confidence"] > 0.99
    assert measures["ROCAUC"]["confidence"] is None
    assert (measures["ROCAUC"]["better"], measures["ROCAUC"]["bigger_is_better"]) == ("v2", True)


def test_the_comparison_has_what_differs_in_the_lineage_and_nothing_else(rivals: Project) -> None:
    lineage = orjson.loads(rivals.invoke("models", "compare", "v1", "v2", "--json").stdout)["lineage"]
    assert lineage["parent"] == [None, "v1"]
    assert lineage["parameters.LogisticRegression.optimizer.SGD.lr.Constant.learning_rate"] == [0.01, 0.5]
    assert lineage["labels"] == [POINTS, EARLIER + POINTS]
    assert not lineage.keys() & {"plan", "code", "libraries.river", "snapshot.sha256"}


def test_the_comparison_is_a_readable_table(rivals: Project) -> None:
    text = rivals.invoke("models", "compare", "v1", "models:/numbers@challenger").stdout
    (loss,) = (line for line in text.splitlines() if "│ loss" in line)
    assert loss.rstrip(" │").endswith("v2")
    assert f"over {POINTS} labels of events that both scored" in text


def test_versions_that_never_scored_the_same_events_are_told(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    run_rivals(project, 0)
    error = project.invoke("models", "compare", "v1", "v2").exception
    assert isinstance(error, ConfigError)
    assert "must have scored the same events, got 'v1' and 'v2', which never did" in str(error)
    project.send([record for record in points(20) if record.topic == "points"])
    run_flow(project.engine(), "predict")
    assert "both scored 20 events, and none of them has a label yet" in str(
        project.invoke("models", "compare", "v1", "v2").exception
    )


def test_the_server_compares_as_the_command_does(rivals: Project) -> None:
    done = rivals.invoke("models", "compare", "champion", "challenger", "--json")
    with serving(with_path(rivals)) as server:
        models = "/v1/numbers/models"
        assert server.get(f"{models}/champion/compare/challenger").json() == orjson.loads(done.stdout)
        uri = "models:%2Fnumbers@challenger"
        assert server.get(f"{models}/v1/compare/{uri}").json() == orjson.loads(done.stdout)
        gates = server.get(f"{models}/{uri}/gates").json()
        assert [gate["name"] for gate in gates] == [*GATES]
        for path, status, said in (
            ("v1/compare/champion", 409, "A and B must be two versions, got 'v1' twice"),
            ("v1/compare/v9", 404, "version 'v9' must be one of"),
            ("v1/compare/models:%2Fother@champion", 404, "must name the pipeline of the path, 'numbers'"),
        ):
            answer = server.get(f"{models}/{path}")
            assert answer.status_code == status
            assert said in answer.json()["error"]


def with_path(project: Project) -> Project:
    """Return the project for processes, which import its declaration too."""
    return Project(project.directory, {**project.environment, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_a_version_is_not_compared_with_itself(rivals: Project) -> None:
    error = rivals.invoke("models", "compare", "v1", "champion").exception
    assert isinstance(error, ConfigError)
    assert "A and B must be two versions, got 'v1' twice" in str(error)
