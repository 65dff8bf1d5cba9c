"""The `driftline` command: the group of all commands, and how an error ends it.

Importing the engine takes two seconds, since River comes with it. So the modules of the commands import
neither the engine nor its jobs: each command imports what it runs.
"""

import sys

import typer

from flows import settings
from flows.cli import backtest, dead_letters, features, publish, run, topics, verify, webhooks
from flows.cli.output import print_error, warn
from flows.errors import DriftlineError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    help="Real-time predictions from streams: learn online, detect drift, retrain.",
)
for commands in (run, publish, topics, backtest, features):
    app.add_typer(commands.commands)
app.add_typer(verify.commands, name="verify")
app.add_typer(webhooks.commands, name="webhooks")
app.add_typer(dead_letters.commands, name="dead-letters")


def main() -> None:
    """Run the command; print a `DriftlineError` as one line that says what to do."""
    for warning in settings.unknown():
        warn(warning)
    try:
        app()
    except DriftlineError as error:
        print_error(str(error))
        sys.exit(_exit_code(error))


def _exit_code(error: DriftlineError) -> int:
    from flows.runtime.runner import EXIT_FAULT, EXIT_MISTAKE, MISTAKES

    return EXIT_MISTAKE if isinstance(error, MISTAKES) else EXIT_FAULT


if __name__ == "__main__":
    main()
