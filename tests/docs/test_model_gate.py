"""The example of a gate in GitHub Actions: its commands, its settings and its file of gates are valid."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from flows.cli.app import app
from flows.core.evaluation.gates import parse_gates, sections
from flows.pipelines.flight_delays import pipeline
from flows.settings import SETTINGS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
WORKFLOW = yaml.safe_load((EXAMPLES / "model-gate.yml").read_text())
JOB = WORKFLOW["jobs"]["gate"]
COMMANDS = [
    words[1:]
    for step in JOB["steps"]
    for line in step.get("run", "").splitlines()
    if (words := line.split())[0] == "driftline"
]


def parse(words: list[str]) -> str | None:
    """Parse a command, do not run it, and return its name."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    name: str | None = command.make_context(command.name, list(words)).command.name
    return name


def test_the_workflow_applies_the_declaration_and_checks_the_gates() -> None:
    assert [" ".join(words) for words in COMMANDS] == ["apply", "models gate gates.toml"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_of_the_workflow_is_one(words: list[str]) -> None:
    assert parse(words) == words[-2 if words[-1].endswith(".toml") else -1]


def test_a_command_with_an_unknown_option_would_be_found() -> None:
    with pytest.raises(Exception, match="--unknown"):
        parse(["models", "gate", "gates.toml", "--unknown"])


def test_each_variable_of_the_workflow_is_a_setting() -> None:
    assert JOB["env"].keys() <= {setting.name for setting in SETTINGS}
    assert JOB["env"]["DRIFTLINE_PIPELINE"] == pipeline.name


def test_the_gates_are_those_of_the_pipeline() -> None:
    raw = tomllib.loads((EXAMPLES / "gates.toml").read_text())
    names = sections(list(pipeline.fresh_metrics()), pipeline.slices, is_binary=True)
    gates = parse_gates(raw, names)
    assert {gate.figure.partition(".")[0] for gate in gates} == names.keys()
