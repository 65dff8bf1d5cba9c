"""A backtest without usable records exits with 1, and shows the reason and the user's line."""

from pathlib import Path

import orjson
from harness import Project

EVENTS = 60

MODELS = {
    "typo": ("def prepare(x):\n    return {'a': itmes}", "prepare | LogisticRegression()"),
    "nan": (
        "class Nan(LogisticRegression):\n    def predict_proba_one(self, x):\n        return {True: nan}",
        "Nan()",
    ),
    "learn": (
        "class Raises(LogisticRegression):\n"
        "    def learn_one(self, x, y):\n        raise OSError('no disk')\n"
        "def prepare(x):\n    return {}",
        "prepare | Raises()",
    ),
    "sometimes": (
        "def prepare(x):\n    return {'a': 1 / (x['carrier'] != 'UA')}",
        "prepare | LogisticRegression()",
    ),
}
SOURCE = """from dataclasses import replace
from math import nan
from river.linear_model import LogisticRegression
from flows.pipelines.flight_delays import pipeline
{code}
pipeline = replace(pipeline, model=lambda: {model})
"""


def declared(project: Project, name: str) -> Project:
    code, model = MODELS[name]
    (project.directory / "mine.py").write_text(SOURCE.format(code=code, model=model))
    (project.directory / "driftline.toml").write_text('pipelines = ["mine"]\n')
    return project


def test_a_typo_in_the_users_function_is_shown_with_its_line_and_nothing_scored_is_exit_code_1(
    project: Project,
) -> None:
    outcome = declared(project, "typo").run("backtest", "--events", str(EVENTS))
    line = line_of(project, "itmes")
    said = f"NameError: name 'itmes' is not defined (mine.py, line {line}, in prepare)"
    assert outcome.returncode == 1
    assert f"{EVENTS} model, the first flights/0/0: the model cannot score it: {said}" in outcome.stdout
    assert f'mine.py", line {line}, in prepare' in outcome.stdout
    assert "ROCAUC" not in outcome.stdout
    assert f"{EVENTS} dead letters from " in outcome.stderr
    assert "driftline: nothing was scored" in outcome.stderr
    page = (project.directory / "backtest-flight_delays.html").read_text()
    assert "NameError: name &#39;itmes&#39; is not defined" in page
    assert f"mine.py&#34;, line {line}, in prepare" in page
    assert "flights/0/0" in page


def test_a_model_that_gives_nan_is_a_reason_of_its_own_in_json_too(project: Project) -> None:
    outcome = declared(project, "nan").run("backtest", "--events", str(EVENTS), "--json")
    summary = orjson.loads(outcome.stdout)
    assert outcome.returncode == 1
    assert (summary["events"], summary["dead_letters"]) == (0, EVENTS)
    (reason,) = summary["reasons"]
    assert (reason["reason"], reason["records"]) == ("model", EVENTS)
    assert reason["first"]["detail"] == "the model cannot score it: ArithmeticError: model v1 gives nan"
    assert (reason["first"]["topic"], reason["first"]["offset"]) == ("flights", 0)
    assert summary["fault"]["error"] == "ArithmeticError: model v1 gives nan"


def test_a_model_that_learns_nothing_is_a_failure_though_it_scores(project: Project) -> None:
    outcome = declared(project, "learn").run("backtest", "--events", str(EVENTS), "--json")
    summary = orjson.loads(outcome.stdout)
    assert outcome.returncode == 1
    assert "driftline: the model learned nothing, so its metrics are meaningless" in outcome.stderr
    assert (summary["events"], summary["learned"]) == (EVENTS, 0)
    fault = summary["fault"]
    assert (Path(fault["file"]).name, fault["function"]) == ("mine.py", "learn_one")
    assert fault["line"] == line_of(project, "no disk")


def test_a_part_that_is_dead_is_a_warning(project: Project) -> None:
    outcome = declared(project, "sometimes").run("backtest", "--events", str(EVENTS))
    assert outcome.returncode == 0, outcome.stderr
    assert "warning: " in outcome.stderr
    assert " dead letters from " in outcome.stderr
    assert "ZeroDivisionError: division by zero" in outcome.stdout
    assert "ROCAUC" in outcome.stdout


def line_of(project: Project, text: str) -> int:
    lines = (project.directory / "mine.py").read_text().splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if text in line]
    return number
