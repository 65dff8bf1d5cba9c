"""Large estimators: each is a signed artifact, to which a model message refers by size and SHA-256."""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import NoReturn, Protocol

from flows.core.models.announcements import Announcement, Reference
from flows.core.models.model import ModelMessage
from flows.core.models.signing_keys import KeyRing, SigningKey
from flows.errors import SnapshotError, StoreError, SupersededSnapshot


class Artifacts(Protocol):
    """The store of large estimators, each under its own name."""

    def put(self, name: str, content: bytes) -> None:
        """Store an artifact durably, or do nothing if it is there; raises `StoreError`."""

    def get(self, name: str, size: int) -> bytes | None:
        """Return the artifact of `size` bytes, None if there is none; raises `StoreError`."""

    def names(self) -> list[str]:
        """Return the names of all artifacts; raises `StoreError`."""


class LargeEstimators:
    """Puts pickled estimators into the artifact store and gets them back verified."""

    def __init__(self, artifacts: Artifacts | None, key: KeyRing) -> None:
        self._artifacts = artifacts
        self._key = key

    def put(self, message: ModelMessage, content: bytes) -> Reference:
        """Store the estimator of a message; raises as `put_named` does."""
        return self.put_named(content, lambda reference: reference.name(message.role, message.sequence))

    def put_named(self, content: bytes, name: Callable[[Reference], str]) -> Reference:
        """Store a pickled estimator; raises `StoreError`, and `SnapshotError` where no store is set."""
        if self._artifacts is None:
            raise SnapshotError(
                f"a model has {len(content):,} bytes and there is no artifact store; set DRIFTLINE_ARTIFACTS"
            )
        artifact = self._key.sign(content) + content
        reference = Reference(sha256(artifact).hexdigest(), len(artifact))
        self._artifacts.put(name(reference), artifact)
        return reference

    def get(self, reference: Reference, announced: Announcement) -> bytes:
        """Return the estimator that a message refers to.

        Raises `SnapshotError`, and `SupersededSnapshot` if its artifact was removed for a newer one.
        """
        name = reference.name(announced.role, announced.sequence)
        content = self.get_named(reference, name)
        if content is None:
            assert self._artifacts is not None
            _raise_missing(self._artifacts, name, announced)
        return content

    def get_named(self, reference: Reference, name: str) -> bytes | None:
        """Return a pickled estimator, None if it is not there; raises `SnapshotError`."""
        if self._artifacts is None:
            raise SnapshotError("a snapshot is in an artifact store and none is set; set DRIFTLINE_ARTIFACTS")
        try:
            artifact = self._artifacts.get(name, reference.size)
        except StoreError as error:
            raise SnapshotError(f"artifact {name} cannot be read: {error}") from error
        if artifact is None:
            return None
        content = artifact[SigningKey.SIZE :]
        hashed = hmac.compare_digest(sha256(artifact).hexdigest(), reference.sha256)
        if not hashed or not self._key.verifies(content, artifact[: SigningKey.SIZE]):
            raise SnapshotError(
                f"artifact {name} does not have the SHA-256 and the signature that its message gives; it was "
                "not read. Restore it, or wait for the next snapshot"
            )
        return content


def _raise_missing(artifacts: Artifacts, name: str, announced: Announcement) -> NoReturn:
    try:
        newer = any(other > name for other in artifacts.names() if _kind(other) == _kind(name))
    except StoreError as error:
        raise SnapshotError(f"artifact {name} cannot be read: {error}") from error
    if newer:
        raise SupersededSnapshot(f"artifact {name} was removed; there is a newer one")
    raise SnapshotError(
        f"model {announced.version} is in artifact {name}, which is not in the artifact store; check "
        "that DRIFTLINE_ARTIFACTS is the same for all flows, or wait for the next snapshot"
    )


def _kind(name: str) -> str:
    return name.partition("-")[0]
