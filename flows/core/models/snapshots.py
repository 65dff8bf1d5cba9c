"""Signed snapshots: nothing is unpickled before its signature is verified, and then only known classes are.

A model travels as one JSON object with an HMAC-SHA256 of the whole in a header, so that neither the estimator
nor its role can be altered. A small estimator is in the object; of a large one the object holds the size and
the SHA-256, and the artifact store the content.
"""

import base64
import hmac
import pickle
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache, partial
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn, Protocol, get_args

import orjson

from flows.core.models.model import Model, ModelMessage, Role
from flows.core.models.signing_keys import SigningKey
from flows.core.models.tasks import TASKS
from flows.core.models.unpickling import Table, Unpickler, classes_around, classes_of_models, plain_values
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.times import iso, milliseconds
from flows.errors import SnapshotError, StoreError, SupersededSnapshot

SIGNATURE = "signature"  # the header of a model's record that holds its HMAC
INLINE_BYTES = 512 * 2**10  # of an estimator in its message; base64 makes it 683 KiB of Kafka's 1 MiB

_STATE = tuple(
    f"flows.core.{module}"
    for module in (
        "drift.columns",
        "drift.concept",
        "drift.error_windows",
        "drift.features.comparison",
        "drift.features.detector",
        "drift.features.policy",
        "drift.features.reference",
        "drift.levels",
        "drift.monitor",
        "drift.quality.detector",
        "drift.quality.policy",
        "drift.quality.reference",
        "drift.quality.trackers",
        "drift.signal",
        "evaluation.calibration",
        "evaluation.costs",
        "evaluation.evaluation",
        "evaluation.label_join",
        "evaluation.rolling",
        "evaluation.skill",
        "evaluation.slices",
        "learning.contest",
        "learning.learner",
        "learning.outliers",
        "models.baselines",
        "models.model",
        "models.tasks.anomaly",
        "models.tasks.classification",
        "models.tasks.regression",
        "stream.broker",
        "stream.recent_ids",
    )
)


class Artifacts(Protocol):
    """Where large estimators are stored, each under a name of its own."""

    def put(self, name: str, content: bytes) -> None:
        """Store an artifact durably, or do nothing if it is there; raises `StoreError`."""

    def get(self, name: str, size: int) -> bytes | None:
        """Return the artifact of `size` bytes, None if there is none; raises `StoreError`."""

    def names(self) -> list[str]:
        """Return the names of all artifacts; raises `StoreError`."""


class Reference(NamedTuple):
    """An estimator in the artifact store."""

    sha256: str
    size: int

    def name(self, role: str, sequence: int) -> str:
        """Return the artifact's name; names of the same kind sort by sequence."""
        return f"{_kind(role)}-{sequence:016d}-{self.sha256}"


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


class Sealer:
    """Seals and opens snapshots with keys derived from the project's secret.

    `models` are the fresh estimators that the pipeline declares, and `states` what else of the declaration a
    flow stores, such as its metrics: snapshots may hold what these are made of.
    """

    def __init__(
        self,
        secret: bytes,
        models: Iterable[Any] = (),
        artifacts: Artifacts | None = None,
        states: Iterable[Any] = (),
    ) -> None:
        self._secret = secret
        self._artifacts = artifacts
        self._messages = SigningKey(secret, "model messages")
        self._states = SigningKey(secret, "flow states")
        self._contents = SigningKey(secret, "artifacts")
        self._of_models: Table = {**plain_values(), **classes_of_models(models)}
        self._of_states: Table = {**self._of_models, **_state_classes(), **classes_of_models(states)}

    def seal_state(self, state: Any) -> bytes:
        """Return `state`, pickled and signed."""
        body = pickle.dumps(state, protocol=5)
        return self._states.sign(body) + body

    def open_state(self, sealed: bytes) -> Any:
        """Return what `seal_state` was given; raises `SnapshotError` for anything else."""
        signature, body = sealed[: SigningKey.SIZE], sealed[SigningKey.SIZE :]
        if not self._states.verifies(body, signature):
            self._refuse(body, signature)
        return _unpickled(body, self._of_states)

    def pickle(self, model: Model) -> bytes:
        """Return the content of a snapshot of `model`, for `seal` and `record`."""
        return pickle.dumps(model.estimator, protocol=5)

    def seal(self, message: ModelMessage, content: bytes | None = None) -> tuple[bytes, bytes]:
        """Return the JSON of a model message and its signature; a large estimator goes to the store.

        Raises `StoreError`, and `SnapshotError` for a large one without a store.
        """
        content = self.pickle(message.model) if content is None else content
        body = orjson.dumps(
            {
                "pipeline": message.pipeline,
                "sequence": message.sequence,
                "version": message.model.version,
                "role": message.role,
                "time": iso(message.time),
                "task": message.model.task.name,
                "learned": message.model.learned,
                "lineage": dict(message.lineage),
                **self._stored(message, content),
            }
        )
        return body, self._messages.sign(body)

    def open(self, body: bytes, signature: bytes) -> ModelMessage:
        """Return the message that `seal` was given; raises `SnapshotError` for anything else."""
        announced = self._announced(body, signature)
        model = self.load(announced)
        return ModelMessage(
            announced.pipeline, announced.role, announced.time, model, announced.lineage, announced.sequence
        )

    def record(self, topic: str, message: ModelMessage, content: bytes | None = None) -> Outgoing:
        """Return the signed record of a model for the models topic; raises as `seal` does.

        The sink writes no id twice: a candidate for a signal once, each other message always, also beside
        those that another secret signed.
        """
        body, signature = self.seal(message, content)
        version = message.model.version
        identity = f"{version}:{message.role}:{message.sequence}"
        if message.role != "candidate":
            identity += f":{signature.hex()[:8]}"
        headers = (("id", identity.encode()), ("role", message.role.encode()), (SIGNATURE, signature))
        return Outgoing(topic, body, version.encode(), timestamp=message.time, headers=headers)

    def read(self, record: Record) -> ModelMessage:
        """Return the message of a record of the models topic; raises `SnapshotError`."""
        return self.open(record.value or b"", _signature(record))

    def announced(self, record: Record) -> Announcement:
        """Return what a record of the models topic announces, without unpickling; raises `SnapshotError`."""
        return self._announced(record.value or b"", _signature(record))

    def load(self, announced: Announcement) -> Model:
        """Return the model that was announced.

        Raises `SnapshotError`, and `SupersededSnapshot` if its artifact was removed for a newer one.
        """
        content = announced.estimator
        if isinstance(content, Reference):
            content = self._artifact(content, announced)
        estimator = _unpickled(content, self._of_models)
        return Model(announced.version, estimator, announced.learned, TASKS[announced.task])

    def _stored(self, message: ModelMessage, content: bytes) -> dict[str, Any]:
        if len(content) <= INLINE_BYTES:
            return {"estimator": base64.b64encode(content).decode()}
        if self._artifacts is None:
            raise SnapshotError(
                f"model {message.model.version} is {len(content):,} bytes and there is no artifact store; "
                "set DRIFTLINE_ARTIFACTS"
            )
        artifact = self._contents.sign(content) + content
        reference = Reference(sha256(artifact).hexdigest(), len(artifact))
        self._artifacts.put(reference.name(message.role, message.sequence), artifact)
        return {"artifact": {"sha256": reference.sha256, "size": reference.size}}

    def _artifact(self, reference: Reference, announced: Announcement) -> bytes:
        if self._artifacts is None:
            raise SnapshotError("a snapshot is in an artifact store and none is set; set DRIFTLINE_ARTIFACTS")
        name = reference.name(announced.role, announced.sequence)
        try:
            artifact = self._artifacts.get(name, reference.size)
            if artifact is None:
                self._missing(name, announced)
        except StoreError as error:
            raise SnapshotError(f"artifact {name} cannot be read: {error}") from error
        content = artifact[SigningKey.SIZE :]
        hashed = hmac.compare_digest(sha256(artifact).hexdigest(), reference.sha256)
        if not hashed or not self._contents.verifies(content, artifact[: SigningKey.SIZE]):
            raise SnapshotError(
                f"artifact {name} must have the SHA-256 and the signature that its message gives, and has "
                "not; it was not read. Restore it, or wait for the next snapshot"
            )
        return content

    def _missing(self, name: str, announced: Announcement) -> NoReturn:
        assert self._artifacts is not None
        if any(other > name for other in self._artifacts.names() if _same_kind(other, name)):
            raise SupersededSnapshot(f"artifact {name} was removed; there is a newer one")
        raise SnapshotError(
            f"model {announced.version} is in artifact {name}, which is not in the artifact store; check "
            "that DRIFTLINE_ARTIFACTS is the same for all flows, or wait for the next snapshot"
        )

    def _announced(self, body: bytes, signature: bytes) -> Announcement:
        if not self._messages.verifies(body, signature):
            self._refuse(body, signature)
        try:
            return _parsed(orjson.loads(body), signature)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise SnapshotError(
                f"a signed model message must be JSON with the fields of a model ({type(error).__name__}: "
                f"{error}); was it written by another version of Driftline?"
            ) from error

    def _refuse(self, body: bytes, signature: bytes) -> NoReturn:
        if hmac.compare_digest(hmac.digest(self._secret, body, "sha256"), signature):
            raise SnapshotError(
                "a snapshot was written by Driftline 0.1, whose format is not read any more; stop the flows, "
                "remove the folder `state` of the state directory, and start them again: the state is made "
                "from the topics, and old models on the models topic become dead letters"
            )
        raise SnapshotError(
            "a snapshot is not signed with this project's secret for this purpose and was not read; set "
            "DRIFTLINE_SECRET to the one that it was signed with, or start over without the state directory"
        )


@cache
def _state_classes() -> Table:
    """Return what flow states are made of; rolling metrics are copies that `partial` makes of a fresh one."""
    return {
        **classes_around(_STATE),
        ("copy", "deepcopy"): deepcopy,
        ("functools", "partial"): partial,
    }


def _parsed(raw: Any, digest: bytes) -> Announcement:
    """Return the message with each field of its type; raises `ValueError`, `KeyError` or `TypeError`."""
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
    )


def _typed(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    value = raw[name]
    if type(value) is not kind:
        raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _inline(raw: Mapping[str, Any]) -> bytes:
    return base64.b64decode(_typed(raw, "estimator", str), validate=True)


def _reference(raw: Mapping[str, Any]) -> Reference:
    digest, size = _typed(raw, "sha256", str), _typed(raw, "size", int)
    if len(bytes.fromhex(digest)) != sha256().digest_size or digest != digest.lower():
        raise ValueError("artifact.sha256 must be 64 hexadecimal digits")
    return Reference(digest, size)


def _signature(record: Record) -> bytes:
    return dict(record.headers).get(SIGNATURE) or b""


def _kind(role: str) -> str:
    return "candidate" if role == "candidate" else "model"


def _same_kind(name: str, other: str) -> bool:
    return name.partition("-")[0] == other.partition("-")[0]


def _unpickled(content: bytes, table: Table) -> Any:
    try:
        return Unpickler(content, table).load()
    except (SnapshotError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # unpickling calls what the snapshot says; River's Rust parts panic
        raise SnapshotError(
            f"a snapshot cannot be read ({type(error).__name__}: {error}); "
            "was it written by another version of Driftline, River or the pipeline?"
        ) from error
