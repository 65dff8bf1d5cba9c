"""The `driftline` command: the group of all commands, and how an error ends it.

Importing the engine takes half a second, since River comes with it. So the modules of the commands import
neither the engine nor its jobs: each command imports what it runs.
"""

import sys

import typer

from flows import settings
from flows.cli import (
    backtest,
    dead_letters,
    explain,
    features,
    models,
    publish,
    run,
    score,
    serving,
    topics,
    verify,
    webhooks,
)
from flows.cli.edge import collect, export
from flows.cli.output import exit_code_of, warn

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Real-time predictions from streams: learn online, detect drift, retrain.",
)
for commands in (run, serving.server, publish, topics, backtest, features, explain, score, collect):
    app.add_typer(commands.commands)
app.add_typer(verify.commands, name="verify")
app.add_typer(webhooks.commands, name="webhooks")
app.add_typer(dead_letters.commands, name="dead-letters")
app.add_typer(models.commands, name="models")
app.add_typer(export.commands, name="export")
app.add_typer(serving.tokens.commands, name="tokens")


def main() -> None:
    """Run the command, and exit with its code."""
    for warning in settings.unknown():
        warn(warning)
    sys.exit(exit_code_of(app))


if __name__ == "__main__":
    main()
