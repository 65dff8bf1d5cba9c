"""`driftline models mirror`: keeps MLflow's registry as this one, until it is stopped."""

import signal
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.models.versions import opened_models, with_facts
from flows.cli.options import PipelineOption, examples
from flows.cli.output import warn
from flows.host.tables import console, print_line

if TYPE_CHECKING:
    from flows.cli.models.versions import OpenedModels, OpenedVersion
    from flows.core.registry.registry import RegisteredVersion

commands = typer.Typer()

StoreOption = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="STORE",
        help="The store: a server's URL, or sqlite:///FILE. Default: the setting DRIFTLINE_MLFLOW.",
    ),
]
AGAIN = 5.0  # seconds until a store that failed is tried again

Mirrored = dict[str, tuple[int, tuple[str, ...]]]  # by version: its entries that were seen, and its aliases


@commands.command("mirror", epilog=examples("driftline models mirror --out http://127.0.0.1:5000"))
def mirror_versions(out: StoreOption = "", pipeline: PipelineOption = "") -> None:
    """Mirror all versions in MLflow, and each change of them as it happens.

    Ctrl-C or SIGTERM ends it. A store that fails is tried again.
    """
    from flows.errors import ConfigError
    from flows.jobs.tail import follow_from_start
    from flows.runtime.engine import load_engine

    running = load_engine(pipeline)
    store, mirrored, seen = out or running.settings.mlflow, Mirrored(), 0
    topic = running.pipeline.topic("registry")
    if not store:
        raise ConfigError(
            "the store must be given by --out or DRIFTLINE_MLFLOW, got neither; give the URL of a server"
        )
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background process ignores the first
        signal.signal(number, signal.default_int_handler)
    with closing(running.open_broker()) as broker, suppress(KeyboardInterrupt):
        for record in follow_from_start(broker, topic):
            if record.offset < seen:
                continue
            _, seen = broker.offsets(topic)[record.partition]
            while not _caught_up(running.pipeline.name, store, mirrored):
                time.sleep(AGAIN)


def _caught_up(pipeline: str, store: str, mirrored: Mirrored) -> bool:
    """Mirror the versions that have changed; return False if the store failed."""
    from flows.errors import SnapshotError, StoreError

    with opened_models(pipeline) as opened:
        for version in opened.registry.versions.values():
            seen = len(version.entries), aliases_of(opened, version)
            if mirrored.get(version.name) == seen:
                continue
            try:
                found = with_facts(opened, version)
                print_line(console(), f"{version.name}: {mirror_version(found, store)}")
            except SnapshotError as fault:
                warn(f"version {version.name} is left out: {fault}")
            except StoreError as fault:
                warn(f"{fault}; it is tried again in {AGAIN:g} s")
                return False
            mirrored[version.name] = seen
    return True


def mirror_version(found: "OpenedVersion", store: str) -> str:
    """Put a version into MLflow's registry; return what was done."""
    from flows.adapters.mlflow.registry import mirror

    aliases = aliases_of(found.opened, found.registered)
    done = mirror(found.facts, aliases, store)
    named = f" with the alias {', '.join(aliases)}" if aliases else ""
    state = "is" if done.is_new else "was already"
    return f"it {state} version {done.number} of {done.name!r} in MLflow{named}"


def aliases_of(opened: "OpenedModels", version: "RegisteredVersion") -> tuple[str, ...]:
    """Return the aliases of a version."""
    return tuple(alias for alias, named in opened.registry.aliases.items() if named is version)
