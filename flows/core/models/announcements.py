"""Model messages as JSON: a model's announcement, with its estimator or a reference to it."""

import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple, get_args

import orjson

from flows.core.models.model import ModelMessage, Role
from flows.core.models.tasks import TASKS
from flows.core.stored_format import MODEL
from flows.core.stream.times import iso, milliseconds
from flows.errors import SnapshotError

_REMEDY = "it was not read, and the learner's next snapshot takes its place"


class Reference(NamedTuple):
    """An estimator in the artifact store."""

    sha256: str
    size: int

    def name(self, role: str, sequence: int) -> str:
        """Return the artifact's name; names of the same kind sort by sequence."""
        kind = "candidate" if role == "candidate" else "model"
        return f"{kind}-{sequence:016d}-{self.sha256}"


class Announcement(NamedTuple):
    """A verified model message whose estimator is still a pickle, or a reference to one.

    `digest` is the signature, which is equal for equal messages only.
    """

    pipeline: str
    sequence: int
    role: Role
    version: str
    time: int
    task: str
    learned: int
    lineage: Mapping[str, Any]
    estimator: bytes | Reference
    digest: bytes
    share: float = 0.0


def encode(message: ModelMessage, estimator: bytes | Reference) -> bytes:
    """Return the JSON of a model message; `decode` reads it."""
    return orjson.dumps(
        {
            "format": str(MODEL),
            "pipeline": message.pipeline,
            "sequence": message.sequence,
            "version": message.model.version,
            "role": message.role,
            "time": iso(message.time),
            "task": message.model.task.name,
            "learned": message.model.learned,
            "lineage": dict(message.lineage),
            **({"share": message.share} if message.share else {}),
            **_stored(estimator),
        }
    )


def decode(body: bytes, digest: bytes) -> Announcement:
    """Return the announcement in a verified model message; raises `SnapshotError`."""
    try:
        raw = orjson.loads(body)
        found = raw.get("format")
        announced = None if MODEL.mismatch(found) else _parsed(raw, digest)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SnapshotError(
            f"a signed model message must be JSON with the fields of a model, got {type(error).__name__}: "
            f"{error}; {_REMEDY}"
        ) from error
    if announced is None:
        raise SnapshotError(refusal(found))
    return announced


def refusal(found: object) -> str:
    """Return why a verified model message of another format is not read."""
    return f"a model message {MODEL.mismatch(found)}; {_REMEDY}"


def _stored(estimator: bytes | Reference) -> dict[str, Any]:
    if isinstance(estimator, Reference):
        return {"artifact": {"sha256": estimator.sha256, "size": estimator.size}}
    return {"estimator": base64.b64encode(estimator).decode()}


def _parsed(raw: Any, digest: bytes) -> Announcement:
    """Return the announcement with each field of its type.

    Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError`.
    """
    role, task = raw["role"], raw["task"]
    if role not in get_args(Role) or task not in TASKS:
        raise ValueError(f"role {role!r} or task {task!r} is unknown")
    return Announcement(
        pipeline=_typed(raw, "pipeline", str),
        sequence=_typed(raw, "sequence", int),
        role=role,
        version=_typed(raw, "version", str),
        time=milliseconds(_typed(raw, "time", str)),
        task=task,
        learned=_typed(raw, "learned", int),
        lineage=_typed(raw, "lineage", dict),
        estimator=_reference(raw["artifact"]) if "artifact" in raw else _inline(raw),
        digest=digest,
        share=_share(raw["share"]) if "share" in raw else 0.0,
    )


def _typed(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    value = raw[name]
    if type(value) is not kind:
        raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _share(value: Any) -> float:
    if type(value) is not float or not 0.0 < value < 1.0:
        raise ValueError(f"share must be above 0 and below 1, got {value!r}")
    return value


def _inline(raw: Mapping[str, Any]) -> bytes:
    return base64.b64decode(_typed(raw, "estimator", str), validate=True)


def _reference(raw: Mapping[str, Any]) -> Reference:
    digest, size = _typed(raw, "sha256", str), _typed(raw, "size", int)
    if len(bytes.fromhex(digest)) != sha256().digest_size or digest != digest.lower():
        raise ValueError("artifact.sha256 must be 64 hexadecimal digits")
    return Reference(digest, size)
