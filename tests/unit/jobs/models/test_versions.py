"""The state of a registered version: of its newest message, or the one that the registry stored."""

from hashlib import sha256

import pytest
from made_numbers import pipeline
from river import linear_model

from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.replay import RegisteredState
from flows.core.lineage import SnapshotDigest
from flows.core.models.announcements import Announcement, Reference
from flows.core.models.model import Model, ModelMessage
from flows.core.models.snapshots import INLINE_BYTES, Sealer
from flows.core.registry.entry import Entry, Snapshot
from flows.core.registry.registry import RegisteredVersion
from flows.core.stream.broker import Record
from flows.core.stream.times import iso
from flows.errors import SnapshotError
from flows.jobs.models.versions import NewestMessages, VersionState, snapshot_digest, version_state

TIME = 1_700_000_000_000


class Shelf(dict[str, bytes]):
    """An artifact store in memory."""

    def put(self, name: str, content: bytes) -> None:
        self[name] = content

    def get(self, name: str, size: int) -> bytes | None:  # type: ignore[override]
        return super().get(name)

    def names(self) -> list[str]:
        return list(self)


def model(weights: int, learned: int) -> Model:
    estimator = linear_model.LogisticRegression()
    estimator.learn_one({f"x{number}": 1.0 for number in range(weights)}, True)
    return Model("v1", estimator, learned)


def registered(*entries: Entry) -> RegisteredVersion:
    return RegisteredVersion("v1", "retired", [entry("born"), *entries])


def entry(change: str, learned: int = 0, snapshot: Snapshot | None = None) -> Entry:
    return Entry("", "numbers", 1, "", iso(TIME), 1, change, "v1", "", "", learned, "", snapshot)  # type: ignore[arg-type]


def checkpoint(sealer: Sealer, made: Model) -> Entry:
    state = RegisteredState(made.estimator, OutlierFilter((), "clip"), made.learned)
    return entry("checkpoint", made.learned, Snapshot(*sealer.store(tuple(state))))


def announced(sealer: Sealer, made: Model) -> Announcement:
    sent = sealer.record("models", ModelMessage("numbers", "champion", TIME + 5, made, {}, 7))
    return sealer.announced(Record("models", 0, 0, TIME, sent.key, sent.value, sent.headers))


def found(sealer: Sealer, version: RegisteredVersion, *messages: Announcement) -> VersionState:
    newest = NewestMessages({message.version: message for message in messages}, 0)
    return version_state(pipeline, version, newest, sealer)


def test_the_newest_message_is_the_state_of_a_version_and_else_what_was_stored_last() -> None:
    sealer = Sealer(b"s" * 32, [linear_model.LogisticRegression()], Shelf())
    version = registered(
        checkpoint(sealer, model(3, 3)), checkpoint(sealer, model(4, 4)), entry("retired", 9)
    )
    of_message = found(sealer, version, announced(sealer, model(2, 8)))
    assert (of_message.model.learned, of_message.time) == (8, TIME + 5)
    without = found(sealer, version)
    assert (without.model.learned, without.time) == (4, TIME)
    assert without.digest == SnapshotDigest.of(sealer.pickle(model(4, 4)))


def test_the_stored_state_is_that_of_a_large_model_whose_artifact_is_gone() -> None:
    shelf = Shelf()
    sealer = Sealer(b"s" * 32, [linear_model.LogisticRegression()], shelf)
    large = model(40_000, 8)
    assert len(sealer.pickle(large)) > INLINE_BYTES
    message = announced(sealer, large)
    version = registered(checkpoint(sealer, model(2, 4)))
    assert found(sealer, version, message).model.learned == 8
    (name,) = (name for name in shelf if name.startswith("model-"))
    shelf["model-9"] = shelf.pop(name)  # a newer one
    assert found(sealer, version, message).model.learned == 4


def test_a_version_without_any_state_is_an_error() -> None:
    sealer = Sealer(b"s" * 32, [linear_model.LogisticRegression()], Shelf())
    with pytest.raises(SnapshotError, match=r"must have a message on topic 'numbers\.models' or a stored"):
        found(sealer, registered())


def test_the_digest_is_that_of_the_message_or_of_the_artifact() -> None:
    def of(estimator: bytes | Reference) -> SnapshotDigest:
        return snapshot_digest(Announcement("p", 1, "champion", "v1", 0, "binary", 1, {}, estimator, b""))

    assert of(b"a pickle") == (sha256(b"a pickle").hexdigest(), 8)
    assert of(Reference("ab", 10**8)) == SnapshotDigest("ab", 10**8)
