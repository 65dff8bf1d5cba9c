"""The `driftline` command: it starts without the engine, and its help is correct."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from flows.cli.app import app
from flows.pipeline import OUTPUTS
from flows.runtime.runner import FLOWS

HEAVY = ("river", "feast", "pandas", "numpy", "bytewax", "confluent_kafka", "flows.core")


def commands(group: TyperGroup, name: str = "") -> Iterator[tuple[str, Any]]:
    for part, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{name}{part} ")
        else:
            yield f"{name}{part}", command


COMMANDS = dict(commands(typer.main.get_command(app)))  # type: ignore[arg-type]


def test_help_imports_neither_the_engine_nor_river_nor_feast():
    script = (
        "import sys; sys.argv = ['driftline', '--help']\n"
        "from flows.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_purpose_of_one_line_and_an_example(name):
    command = COMMANDS[name]
    purpose = (command.help or "").split("\n\n")[0]
    assert purpose.endswith(".")
    assert len(purpose) <= 70
    assert f"  driftline {name}" in (command.epilog or "")


def test_the_flows_and_outputs_in_help_texts_are_those_of_the_code():
    flows, topic = COMMANDS["run"].params[0], COMMANDS["tail"].params[0]
    assert ", ".join(FLOWS) in flows.help  # type: ignore[attr-defined]
    assert all(output in topic.help for output in OUTPUTS)  # type: ignore[attr-defined]
