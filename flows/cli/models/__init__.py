"""`driftline models`: the versions of a pipeline's models."""

import typer

from flows.cli.models import changes, comparing, exporting, gating, history, listing, mirroring, reproducing

commands = typer.Typer(no_args_is_help=True, help="List, compare, change, document or export model versions.")
for group in (listing, history, comparing, changes, gating, exporting, mirroring, reproducing):
    commands.add_typer(group.commands)
