"""What the commands share: how a version is named and found."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from flows.cli.output import note, warn

if TYPE_CHECKING:
    from flows.core.exporting.facts import ModelFacts
    from flows.core.models.snapshots import Sealer
    from flows.core.registry.registry import RegisteredVersion, Registry
    from flows.core.stream.broker import Broker
    from flows.jobs.models.versions import NewestMessages, VersionState
    from flows.runtime.engine import Engine

VersionArgument = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="A version such as v2, an alias (champion, challenger or previous), or a URI such as "
        "models:/PIPELINE@champion.",
    ),
]


class OpenedModels(NamedTuple):
    """An engine with its broker open, its registry, and the newest messages on its models topic."""

    running: "Engine"
    broker: "Broker"
    sealer: "Sealer"
    registry: "Registry"
    messages: "NewestMessages"


class OpenedVersion(NamedTuple):
    """One version, its state, and what is known about it."""

    opened: OpenedModels
    registered: "RegisteredVersion"
    state: "VersionState"
    facts: "ModelFacts"


@contextmanager
def opened_models(pipeline: str) -> Iterator[OpenedModels]:
    """Yield the versions of a pipeline; warn of what the registry lacks and of messages of others."""
    from flows.jobs.models.commands import read_registry
    from flows.jobs.models.versions import newest_messages
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics

    running = load_engine(pipeline)
    check_topics(running)
    sealer = running.sealer()
    with closing(running.open_broker()) as broker:
        registry, breaks = read_registry(running, broker)
        for fault in breaks:
            warn(f"registry, offset {fault.offset}: {fault.fault}")
        messages = newest_messages(running.pipeline, broker, sealer)
        if messages.skipped:
            warn(
                f"{messages.skipped:,} messages on the models topic are not signed with this project's "
                "secret, or are of another version of Driftline; they were skipped"
            )
        yield OpenedModels(running, broker, sealer, registry, messages)


@contextmanager
def opened_version(name: str, pipeline: str) -> Iterator[OpenedVersion]:
    """Yield the version that a user named, with its facts; raises `UnknownVersion` if there is none."""
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name

    wanted = parse_version_name(name)
    with opened_models(chosen_pipeline(wanted, pipeline)) as opened:
        found = with_facts(opened, opened.registry.find(wanted.name))
        if found.facts.lineage.code is None:
            note("the lineage has no commit: the project is in no git repository, or git is not installed")
        yield found


def with_facts(opened: OpenedModels, registered: "RegisteredVersion") -> OpenedVersion:
    """Return a version with its state and its facts; raises `SnapshotError`."""
    from flows.jobs.models.facts import known_version

    found = known_version(opened.running, opened.broker, registered, opened.messages)
    return OpenedVersion(opened, registered, found.state, found.facts)
