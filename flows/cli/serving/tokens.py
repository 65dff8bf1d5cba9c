"""`driftline tokens`: who may ask `driftline serve` what."""

import time
from typing import Annotated, Any

import typer

from flows.cli.options import JsonOption, examples
from flows.cli.output import note, print_json
from flows.errors import ConfigError
from flows.host.tables import console, print_line, print_table

commands = typer.Typer(no_args_is_help=True, help="Make, list and revoke the tokens of `driftline serve`.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who gets the token.")]
ScopesOption = Annotated[
    list[str],
    typer.Option("--scope", metavar="SCOPE", help="Among score, publish, read, operate; may be repeated."),
]
PipelinesOption = Annotated[
    list[str] | None,
    typer.Option("--pipeline", "-p", metavar="NAME", help="Only these; may be repeated. Default: all."),
]
DaysOption = Annotated[
    float | None,
    typer.Option(min=0.00001, metavar="N", help="How long it holds. Default: for ever."),
]


@commands.command(
    epilog=examples(
        "driftline tokens create shop --scope score --scope publish",
        "driftline tokens create ada --scope read --scope operate --pipeline flight_delays --days 30",
    )
)
def create(
    name: NameArgument, scope: ScopesOption, pipeline: PipelinesOption = None, days: DaysOption = None
) -> None:
    """Make a token, and print it once.

    Only its hash is stored. A running server knows it at once.
    """
    from flows.core.serving.access.tokens import SCOPES, Token, hashed
    from flows.core.stream.times import iso
    from flows.runtime.access.token_file import new_secret

    for each in scope:
        if each not in SCOPES:
            raise ConfigError(f"--scope must be one of {', '.join(SCOPES)}, got {each!r}")
    file, known = _opened()
    for each in pipeline or ():
        if each not in known:
            raise ConfigError(f"--pipeline must be one of {', '.join(known)}, got {each!r}")
    now, secret = round(time.time() * 1000), new_secret()
    expires = None if days is None else iso(now + round(days * 86_400_000))
    scopes: Any = tuple(dict.fromkeys(scope))
    token = Token(name, hashed(secret), scopes, iso(now), tuple(pipeline or ()), expires)
    file.change(lambda tokens: tokens.with_token(token))
    note("the token is shown this once; only its hash is stored")
    print_line(console(), secret)


@commands.command("list", epilog=examples("driftline tokens list", "driftline tokens list --json"))
def list_tokens(as_json: JsonOption = False) -> None:
    """List the tokens, without their secrets."""
    from flows.core.serving.access.tokens import described

    rows = [described(token) for token in _opened()[0].read().all]
    if as_json:
        print_json(rows)
    elif rows:
        shown = [{**row, "scopes": " ".join(row["scopes"]), "pipelines": " ".join(row["pipelines"]) or "all"}
                 for row in rows]  # fmt: skip
        print_table(console(), tuple(shown[0]), [tuple(row.values()) for row in shown])
    else:
        print_line(console(), "no tokens")


@commands.command(epilog=examples("driftline tokens revoke shop"))
def revoke(name: NameArgument) -> None:
    """Remove a token; a running server refuses it at once."""
    _opened()[0].change(lambda tokens: tokens.without(name))


def _opened() -> Any:
    """Return the file of tokens, and the names of the project's pipelines."""
    from flows.runtime.access.token_file import TokenFile
    from flows.runtime.engine import load_engines

    engines = load_engines("")
    return TokenFile(engines[0].settings.tokens), list(engines[0].project.pipelines)
