"""Large estimators: each is a signed artifact, to which a model message refers by size and SHA-256."""

import hmac
from hashlib import sha256
from typing import NoReturn, Protocol

from flows.core.models.announcements import Announcement, Reference
from flows.core.models.model import ModelMessage
from flows.core.models.signing_keys import SigningKey
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

    def __init__(self, artifacts: Artifacts | None, key: SigningKey) -> None:
        self._artifacts = artifacts
        self._key = key

    def put(self, message: ModelMessage, content: bytes) -> Reference:
        """Store a pickled estimator; raises `StoreError`, and `SnapshotError` where no store is set."""
        if self._artifacts is None:
            raise SnapshotError(
                f"model {message.model.version} has {len(content):,} bytes and there is no artifact store; "
                "set DRIFTLINE_ARTIFACTS"
            )
        artifact = self._key.sign(content) + content
        reference = Reference(sha256(artifact).hexdigest(), len(artifact))
        self._artifacts.put(reference.name(message.role, message.sequence), artifact)
        return reference

    def get(self, reference: Reference, announced: Announcement) -> bytes:
        """Return a pickled estimator.

        Raises `SnapshotError`, and `SupersededSnapshot` if its artifact was removed for a newer one.
        """
        if self._artifacts is None:
            raise SnapshotError("a snapshot is in an artifact store and none is set; set DRIFTLINE_ARTIFACTS")
        name = reference.name(announced.role, announced.sequence)
        try:
            artifact = self._artifacts.get(name, reference.size)
            if artifact is None:
                _raise_missing(self._artifacts, name, announced)
        except StoreError as error:
            raise SnapshotError(f"artifact {name} cannot be read: {error}") from error
        content = artifact[SigningKey.SIZE :]
        hashed = hmac.compare_digest(sha256(artifact).hexdigest(), reference.sha256)
        if not hashed or not self._key.verifies(content, artifact[: SigningKey.SIZE]):
            raise SnapshotError(
                f"artifact {name} does not have the SHA-256 and the signature that its message gives; it was "
                "not read. Restore it, or wait for the next snapshot"
            )
        return content


def _raise_missing(artifacts: Artifacts, name: str, announced: Announcement) -> NoReturn:
    if any(other > name for other in artifacts.names() if _kind(other) == _kind(name)):
        raise SupersededSnapshot(f"artifact {name} was removed; there is a newer one")
    raise SnapshotError(
        f"model {announced.version} is in artifact {name}, which is not in the artifact store; check "
        "that DRIFTLINE_ARTIFACTS is the same for all flows, or wait for the next snapshot"
    )


def _kind(name: str) -> str:
    return name.partition("-")[0]
