"""Signed snapshots: nothing is unpickled before its signature is verified, and then only known classes are.

A model travels as one JSON object with an HMAC-SHA256 of the whole in a header, so that neither the estimator
nor its role can be altered. A small estimator is in the object. For a large one the object holds the size and
the SHA-256, and the artifact store the content. A flow's state begins with its format and its signature.
"""

import hmac
from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cache, partial
from typing import Any

from flows.core.models import announcements
from flows.core.models.announcements import Announcement, Reference
from flows.core.models.artifacts import Artifacts, LargeEstimators
from flows.core.models.model import Model, ModelMessage
from flows.core.models.pickling import NamedPickling
from flows.core.models.signing_keys import KeyRing, SigningKey
from flows.core.models.stored_names import STATE_MODULES, Table, by_stored_place
from flows.core.models.tasks import TASKS
from flows.core.models.unpickling import Unpickler, classes_around, classes_of_models, plain_values
from flows.core.stored_format import STATE
from flows.core.stream.broker import Outgoing, Record
from flows.errors import SnapshotError

REGISTERED = "registered"  # the kind of artifacts that are kept
SIGNATURE = "signature"  # the header of a model's record that holds its HMAC
INLINE_BYTES = 512 * 2**10  # of an estimator in its message; base64 makes it 683 KiB of Kafka's 1 MiB

_STATE_HEADER = f"{STATE}\n".encode()
_ANY_STATE_HEADER = f"driftline-{STATE.name}/".encode()
_LONGEST_HEADER = 64  # bytes

_START_OVER = (
    "stop the flows, remove the folder `state` of the state directory, and start them again: the state is "
    "made from the topics"
)
_FOREIGN = (
    "a snapshot is not signed with this project's secret for this purpose and was not read; set "
    "DRIFTLINE_SECRET to the one that it was signed with, or start over without the state directory"
)


class Sealer:
    """Seals and opens snapshots with keys derived from the project's secret.

    `models` are the fresh estimators that the pipeline declares, and `states` other parts of the declaration
    that a flow stores, such as its metrics. A snapshot may hold the classes that these are made of. `former`
    are secrets of before a rotation: what they signed is read, and nothing more is signed with them.
    """

    def __init__(
        self,
        secret: bytes,
        models: Iterable[Any] = (),
        artifacts: Artifacts | None = None,
        states: Iterable[Any] = (),
        former: Sequence[bytes] = (),
    ) -> None:
        self._secrets = (secret, *former)
        self._messages = KeyRing(self._secrets, "model messages")
        self._states = KeyRing(self._secrets, "flow states")
        self._large = LargeEstimators(artifacts, KeyRing(self._secrets, "artifacts"))
        of_models = {**plain_values(), **classes_of_models(models)}
        self._of_models = by_stored_place(of_models)
        self._of_states = by_stored_place({**of_models, **_state_classes(), **classes_of_models(states)})
        self._model_pickling = NamedPickling(self._of_models)
        self._state_pickling = NamedPickling(self._of_states)

    def seal_state(self, state: Any) -> bytes:
        """Return `state` as its format, a signature and a pickle."""
        body = self._state_pickling.dumps(state)
        return b"".join((_STATE_HEADER, self._states.sign(body), body))

    def open_state(self, sealed: bytes) -> Any:
        """Return the state that `seal_state` was given; raises `SnapshotError` for anything else."""
        if not sealed.startswith(_STATE_HEADER):
            raise SnapshotError(self._why_no_state(sealed))
        begin = len(_STATE_HEADER) + SigningKey.SIZE
        body = sealed[begin:]
        if not self._states.verifies(body, sealed[len(_STATE_HEADER) : begin]):
            raise SnapshotError(_FOREIGN)
        return _unpickled(body, self._of_states)

    def pickle(self, model: Model) -> bytes:
        """Return the content of a snapshot of `model`, for `seal` and `record`."""
        return self._model_pickling.dumps(model.estimator)

    def seal(self, message: ModelMessage, content: bytes | None = None) -> tuple[bytes, bytes]:
        """Return the JSON of a model message and its signature; a large estimator goes to the store.

        Raises `StoreError`, and `SnapshotError` for a large one without a store.
        """
        content = self.pickle(message.model) if content is None else content
        large = len(content) > INLINE_BYTES
        body = announcements.encode(message, self._large.put(message, content) if large else content)
        return body, self._messages.sign(body)

    def open(self, body: bytes, signature: bytes) -> ModelMessage:
        """Return the message that `seal` was given; raises `SnapshotError` for anything else."""
        announced = self._announced(body, signature)
        model = self.load(announced)
        return ModelMessage(
            announced.pipeline,
            announced.role,
            announced.time,
            model,
            announced.lineage,
            announced.sequence,
            announced.share,
        )

    def record(self, topic: str, message: ModelMessage, content: bytes | None = None) -> Outgoing:
        """Return the signed record of a model for the models topic; raises as `seal` does.

        The sink writes no id twice. The id of a candidate is that of its version and trigger; every other
        message has its own id, even if another secret signed one for the same model.
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
        """Return the announcement in a record of the models topic, not unpickled; raises `SnapshotError`."""
        return self._announced(record.value or b"", _signature(record))

    def load(self, announced: Announcement) -> Model:
        """Return the model that was announced.

        Raises `SnapshotError`, and `SupersededSnapshot` if its artifact was removed for a newer one.
        """
        content = announced.estimator
        if isinstance(content, Reference):
            content = self._large.get(content, announced)
        estimator = _unpickled(content, self._of_models)
        return Model(announced.version, estimator, announced.learned, TASKS[announced.task])

    def store(self, state: Any) -> Reference:
        """Store the state of a registered version for good; return where.

        Raises `StoreError`, and `SnapshotError` without a store.
        """
        return self._large.put_named(self._state_pickling.dumps(state), _registered)

    def restore(self, stored: Reference) -> Any:
        """Return a state that `store` was given; raises `SnapshotError` if it is missing or altered."""
        content = self._large.get_named(stored, _registered(stored))
        if content is None:
            raise SnapshotError(
                f"the stored state {_registered(stored)} is not in the artifact store; restore it, and check "
                "DRIFTLINE_ARTIFACTS"
            )
        return _unpickled(content, self._of_states)

    def _announced(self, body: bytes, signature: bytes) -> Announcement:
        if self._messages.verifies(body, signature):
            return announcements.decode(body, signature)
        old = self._signed_without_purpose(body, signature)
        raise SnapshotError(announcements.refusal(None) if old else _FOREIGN)

    def _why_no_state(self, sealed: bytes) -> str:
        """Return why a state without the header of this version is not read."""
        if sealed.startswith(_ANY_STATE_HEADER):
            found: object = sealed[:_LONGEST_HEADER].partition(b"\n")[0].decode(errors="replace")
            return f"the state of a flow {STATE.mismatch(found)}; {_START_OVER}"
        signature, body = sealed[: SigningKey.SIZE], sealed[SigningKey.SIZE :]
        if self._states.verifies(body, signature) or self._signed_without_purpose(body, signature):
            return f"the state of a flow {STATE.mismatch(None)}; {_START_OVER}"
        return _FOREIGN

    def _signed_without_purpose(self, body: bytes, signature: bytes) -> bool:
        """Return whether the secret itself signed the body, as in the first versions of Driftline 0.1."""
        return any(
            hmac.compare_digest(hmac.digest(secret, body, "sha256"), signature) for secret in self._secrets
        )


@cache
def _state_classes() -> Table:
    """Return the classes of flow states; rolling metrics are copies that `partial` makes of a fresh one."""
    return {
        **classes_around(STATE_MODULES),
        ("copy", "deepcopy"): deepcopy,
        ("functools", "partial"): partial,
    }


def _registered(stored: Reference) -> str:
    """Return the name of the artifact of a registered version; the store never removes those."""
    return f"{REGISTERED}-{stored.sha256}"


def _signature(record: Record) -> bytes:
    return dict(record.headers).get(SIGNATURE) or b""


def _unpickled(content: bytes, table: Table) -> Any:
    try:
        return Unpickler(content, table).load()
    except (SnapshotError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # unpickling calls what the snapshot says; River's Rust parts panic
        raise SnapshotError(
            f"a snapshot cannot be read ({type(error).__name__}: {error}); "
            "was it written by another version of River or the pipeline?"
        ) from error
