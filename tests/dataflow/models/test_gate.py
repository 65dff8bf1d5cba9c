"""`driftline models gate`: the declared change over the log, beside the scores that were served."""

from math import log
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from harness import Project, run_flow
from made_flights import traffic
from made_numbers import points, project_in

from flows.backtest.prepare import new_backtest
from flows.backtest.trial import LoggedRecords
from flows.errors import ConfigError

POINTS = 600
FLIGHTS = 300


def gate(project: Project, file: Path, *options: str) -> Result:
    return project.invoke("models", "gate", str(file), *options)


def written(folder: Path, text: str, name: str = "gates.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project whose points were all scored before the first label; no test changes it."""
    project = project_in(tmp_path_factory.mktemp("served") / "project")
    project.send(points(POINTS))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    return project


GATES = """
[labels]
at_least = 600
[metrics.LogLoss]
at_most = 0.6
change_at_most = -0.05
[metrics.ROCAUC]
at_least = 0.8
[calibration]
at_most = 0.5
[latency]
at_most = 100000
[size]
at_most = 100000
"""


def figures(done: Result) -> dict[str, dict]:
    return {f"{each['figure']} {each['limit']}": each for each in orjson.loads(done.stdout)["gates"]}


def test_a_change_that_keeps_to_all_gates_passes(served: Project, tmp_path: Path) -> None:
    done = gate(served, written(tmp_path, GATES), "--json")
    found = figures(done)
    assert done.exit_code == 0, (done.exception, found)
    assert orjson.loads(done.stdout)["labels"] == POINTS
    assert found["labels at_least"]["value"] == POINTS
    message = served.values("models")[-1]
    assert found["size at_most"]["value"] == pytest.approx(len(message["estimator"]) * 3 / 4, rel=0.05)
    assert found["latency at_most"]["value"] > 0


def test_the_values_are_those_of_the_backtest_and_the_change_is_against_the_served_scores(
    served: Project, tmp_path: Path
) -> None:
    found = figures(gate(served, written(tmp_path, GATES), "--json"))
    running = served.engine()
    test = new_backtest(running, points(POINTS))
    assert sum(step.events for step in test.run(points(POINTS))) == POINTS
    value, change = (found[f"metrics.LogLoss {limit}"]["value"] for limit in ("at_most", "change_at_most"))
    assert value == test.learner.evaluation.values()["model"]["LogLoss"]
    assert value - change == pytest.approx(log(2)), "the flows served 0.5 before the first label"


def test_a_gate_that_is_not_passed_gives_exit_code_1_and_is_shown(served: Project, tmp_path: Path) -> None:
    done = gate(served, written(tmp_path, "[metrics.LogLoss]\nat_most = 0.1\n[labels]\nat_least = 5"))
    assert done.exit_code == 1
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "at_" in line
    ]
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        ("metrics.LogLoss", "at_most", "0.1000", "no"),
        ("labels", "at_least", "5", "yes"),
    ]
    assert f"1 of 2 gates failed, over {POINTS} labels of events that were served" in done.stdout


def test_gates_may_be_json(served: Project, tmp_path: Path) -> None:
    done = gate(served, written(tmp_path, '{"calibration": {"at_most": 1}}', "gates.json"))
    assert done.exit_code == 0, (done.exception, done.output)
    assert "all gates passed" in done.stdout


def test_the_worst_group_and_the_worst_change_of_a_group_are_limited(
    project: Project, tmp_path: Path
) -> None:
    project.send(traffic(FLIGHTS))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    text = "[slices.carrier]\nat_most = 1\nchange_at_most = 1"
    found = figures(gate(project, written(tmp_path, text), "--json"))

    running = project.engine()
    records = LoggedRecords(running.open_broker(), running.pipeline)
    test = new_backtest(running, records)
    assert sum(step.events for step in test.run(records)) == FLIGHTS
    tried = errors(test.learner.evaluation.assessment())
    before = errors(project.values("metrics")[-1]["assessment"])
    assert len(tried) > 1
    assert found["slices.carrier at_most"]["value"] == max(tried.values())
    changes = [tried[carrier] - before[carrier] for carrier in tried]
    assert found["slices.carrier change_at_most"]["value"] == pytest.approx(max(changes))


def test_a_log_on_kafka_is_judged_in_the_same_way(project_on_kafka: Project, tmp_path: Path) -> None:
    project_on_kafka.send(traffic(FLIGHTS))
    for flow in ("predict", "learn"):
        run_flow(project_on_kafka.engine(), flow)
    file = written(tmp_path, f"[labels]\nat_least = {FLIGHTS}\n[metrics.LogLoss]\nat_most = 100")
    done = gate(project_on_kafka, file)
    assert done.exit_code == 0, (done.exception, done.output)
    assert f"all gates passed, over {FLIGHTS} labels" in done.stdout


def errors(assessment: dict[str, Any]) -> dict[str, float]:
    """Return the error rate of each carrier with enough labels for one."""
    groups = assessment["slices"]["carrier"]["groups"]
    return {each["value"]: each["error"] for each in groups if each["labels"] >= 100}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "gates.toml",
            "[metrics.F1]\nat_least = 1",
            "metrics.F1 must be one of the declared metrics (ROCAUC",
        ),
        ("gates.toml", "at_most = ", "must be TOML, or JSON if its name ends in .json: Invalid value"),
        ("gates.json", "{", "must be TOML, or JSON if its name ends in .json: "),
        ("gates.toml", "", "a file of gates must have one of labels, metrics"),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_line_before_the_backtest(
    served: Project, tmp_path: Path, name: str, text: str, says: str
) -> None:
    error = gate(served, written(tmp_path, text, name)).exception
    assert isinstance(error, ConfigError)
    assert says in str(error)
    assert "\n" not in str(error)


def test_a_file_that_is_not_there_is_told(served: Project, tmp_path: Path) -> None:
    error = gate(served, tmp_path / "none.toml").exception
    assert isinstance(error, ConfigError)
    assert "FILE must be a file of gates" in str(error)


def test_a_log_without_a_served_label_is_told(tmp_path: Path) -> None:
    project = project_in(tmp_path / "project")
    project.send(points(20))
    error = gate(project, written(tmp_path, "[labels]\nat_least = 1")).exception
    assert isinstance(error, ConfigError)
    assert "must have labels of events that were served" in str(error)
    assert "got none among 40 records" in str(error)
