"""`driftline models promote`, `rollback`, `freeze` and others: signed commands to the learner."""

import getpass
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from flows.cli.models.versions import VersionArgument, opened_models
from flows.cli.options import PipelineOption, examples
from flows.cli.output import err
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.core.registry.command import Action, Learning

commands = typer.Typer()

ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; required, and the registry keeps it.")
]
ByOption = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who; the registry keeps it. Default: the login name.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for the learner's answer.")
]
LearningOption = Annotated[
    str,
    typer.Option(
        "--learning",
        metavar="continue|frozen|shadow",
        help="continue: the restored model learns on. frozen: it does not, until `unfreeze`. shadow: it does "
        "not, and the replaced champion learns on as its challenger.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the gates of a promotion, and send nothing; exit with 1 unless all are passed.",
    ),
]
PreviousArgument = Annotated[
    str,
    typer.Argument(
        metavar="[VERSION]", help="The version to return to. Default: the last champion not taken back."
    ),
]
WAIT = 30.0


class Request(NamedTuple):
    """The options of all changes: why and by whom, and how long to wait for the answer."""

    reason: ReasonOption = ""
    by: ByOption = ""
    wait: WaitOption = WAIT
    pipeline: PipelineOption = ""


def change(name: str, *usage: str) -> Callable[[Callable[..., None]], None]:
    """Make a function of a request a command, with the options of a request after its own."""

    def add(function: Callable[..., None]) -> None:
        _, *own = inspect.signature(function).parameters.values()
        shared = inspect.signature(Request).parameters.values()

        def command(**given: Any) -> None:
            request = Request(*[given.pop(each.name) for each in shared])
            function(request, **given)

        every = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]
        command.__doc__ = function.__doc__
        command.__annotations__ = {each.name: each.annotation for each in every}
        vars(command)["__signature__"] = inspect.Signature(every)
        commands.command(name, epilog=examples(*usage))(command)

    return add


@change(
    "promote",
    'driftline models promote v3 --reason "reviewed by the fraud team"',
    "driftline models promote v3 --dry-run",
)
def promote(request: Request, version: VersionArgument, dry_run: DryRunOption = False) -> None:
    """Make a challenger the champion."""
    if dry_run:
        _print_gates(version, request.pipeline)
    else:
        _send("promote", version, request)


@change(
    "rollback",
    'driftline models rollback --reason "too many false alarms"',
    'driftline models rollback v2 --reason "too many false alarms" --learning frozen',
)
def roll_back(
    request: Request, version: PreviousArgument = "previous", learning: LearningOption = "continue"
) -> None:
    """Serve the stored state of an earlier version, as a new version.

    The learner goes on from that state, so that its next snapshot does not undo the rollback.
    """
    _send("rollback", version, request, learning)


@change("freeze", 'driftline models freeze --reason "labels are late"')
def freeze(request: Request) -> None:
    """Let the champion serve without learning."""
    _send("freeze", "", request)


@change("unfreeze", 'driftline models unfreeze --reason "labels are back"')
def unfreeze(request: Request) -> None:
    """Let a frozen champion learn again."""
    _send("unfreeze", "", request)


@change("retire", 'driftline models retire v3 --reason "trained on broken data"')
def retire(request: Request, version: VersionArgument) -> None:
    """Stop scoring with a challenger."""
    _send("retire", version, request)


@change("retrain", 'driftline models retrain --reason "new fraud pattern"')
def retrain(request: Request) -> None:
    """Train candidates, which compete with the champion as after an alarm.

    The retrain flow trains them on the labels of the declared window, by default on all.
    """
    _send("retrain", "", request)


def _print_gates(version: str, pipeline: str) -> None:
    """Print the gates of a promotion; exit with 1 unless all are passed."""
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name
    from flows.jobs.models.promotion import promotion_gates
    from flows.runtime.runner import EXIT_FAULT

    wanted = parse_version_name(version)
    with opened_models(chosen_pipeline(wanted, pipeline)) as opened:
        gates = promotion_gates(opened.running.pipeline, opened.broker, opened.registry, wanted.name)
    rows = [(gate.name, gate.value, gate.required, "yes" if gate.passed else "no") for gate in gates]
    print_table(console(), ("gate", "value", "required", "passed"), rows)
    if not all(gate.passed for gate in gates):
        raise typer.Exit(EXIT_FAULT)


def _send(action: "Action", version: str, request: Request, learning: str = "continue") -> None:
    """Send a command, and print the entries of the registry that answer it; exit with 4 if none does."""
    from flows.core.registry.command import LEARNING
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name
    from flows.errors import ConfigError
    from flows.jobs.models.commands import carry_out, new_command
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import EXIT_BEHIND, check_topics

    reason, by, wait, pipeline = request
    if not reason.strip():
        raise ConfigError("--reason must say why, got an empty text; the registry keeps it")
    if learning not in LEARNING:
        raise ConfigError(f"--learning must be one of {', '.join(LEARNING)}, got {learning!r}")
    wanted = parse_version_name(version)
    running = load_engine(chosen_pipeline(wanted, pipeline))
    check_topics(running)
    chosen: Learning = learning
    command = new_command(running.pipeline, action, wanted.name, by or getpass.getuser(), reason, chosen)
    with err.status("waiting for the learner"):
        answers = carry_out(running, command, wait)
    if answers is None:
        print_line(
            console(),
            f"command {command.id} was sent, and not answered within {wait:g} s; the learn flow carries it "
            "out when it runs (`driftline run learn`). `driftline models history` then has the answer",
        )
        raise typer.Exit(EXIT_BEHIND)
    rows = [(entry.number, entry.change, entry.version, entry.learned) for entry in answers]
    print_table(console(), ("entry", "change", "version", "labels"), rows)
