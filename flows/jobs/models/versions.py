"""Finds the state of a registered version: in its newest message, or where it was stored."""

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from flows.core.learning.replay import RegisteredState
from flows.core.lineage import SnapshotDigest
from flows.core.models.announcements import Announcement, Reference
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.models.tasks import task_of
from flows.core.registry.registry import RegisteredVersion
from flows.core.stream.broker import Broker, read_since
from flows.core.stream.times import milliseconds
from flows.errors import SnapshotError, SupersededSnapshot
from flows.pipeline import Pipeline


class NewestMessages(NamedTuple):
    """The learner's newest message about each version, by version.

    `skipped` counts the messages that are not signed with this project's secret or cannot be read.
    """

    by_version: Mapping[str, Announcement]
    skipped: int


class VersionState(NamedTuple):
    """A state of a version, the event time (ms) of the last label that it learned, and its digest."""

    model: Model
    time: int
    digest: SnapshotDigest


def newest_messages(pipeline: Pipeline, broker: Broker, sealer: Sealer) -> NewestMessages:
    """Return the newest messages on the models topic; nothing is unpickled."""
    newest: dict[str, Announcement] = {}
    skipped = 0
    for record in read_since(broker, pipeline.topic("models"), 0):
        try:
            announced = sealer.announced(record)
        except SnapshotError:
            skipped += 1
            continue
        if announced.pipeline == pipeline.name and announced.role != "candidate":
            known = newest.get(announced.version)
            if known is None or known.sequence < announced.sequence:
                newest[announced.version] = announced
    return NewestMessages(newest, skipped)


def version_state(
    pipeline: Pipeline, registered: RegisteredVersion, messages: NewestMessages, sealer: Sealer
) -> VersionState:
    """Return the state in the newest message of a version, or its stored state if there is none any more.

    Raises `SnapshotError`.
    """
    announced = messages.by_version.get(registered.name)
    if announced is not None:
        with suppress(SupersededSnapshot):  # the artifact of a large model is gone
            return VersionState(sealer.load(announced), announced.time, snapshot_digest(announced))
    entry = registered.stored
    if entry is None or entry.snapshot is None:
        raise SnapshotError(
            f"version {registered.name!r} must have a message on topic {pipeline.topic('models')!r} or a "
            "stored state, got neither; name another version"
        )
    state = RegisteredState.restored(sealer, entry.snapshot)
    model = Model(registered.name, state.estimator, entry.learned, task_of(pipeline.task))
    return VersionState(model, milliseconds(entry.time), SnapshotDigest.of(sealer.pickle(model)))


def snapshot_digest(announced: Announcement) -> SnapshotDigest:
    """Return the digest of an estimator, whether it is in its message or in the artifact store."""
    estimator = announced.estimator
    if isinstance(estimator, Reference):
        return SnapshotDigest(estimator.sha256, estimator.size)
    return SnapshotDigest.of(estimator)
