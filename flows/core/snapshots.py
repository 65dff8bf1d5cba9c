"""Signed snapshots: nothing is unpickled before its signature is verified, and then only known classes are.

A model travels as one JSON object, readable but for the pickled estimator in it, with an HMAC-SHA256 of the
whole beside it, so that neither the estimator nor its role can be altered.
"""

import base64
import hmac
import importlib
import io
import pickle
from collections.abc import Sequence
from types import MethodType
from typing import Any

import orjson

from flows.core.broker import Outgoing, Record
from flows.core.models import Model, ModelMessage
from flows.core.schema import iso, milliseconds
from flows.core.tasks import TASKS
from flows.errors import SnapshotError

SIGNATURE = "signature"  # the header of a model's record that holds its HMAC

# By module, the names that pickled models refer to beside River's own.
_NAMES = {
    "builtins": {
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "set",
        "slice", "str", "tuple",
    },
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copy": {"deepcopy"},
    "copyreg": {"_reconstructor", "__newobj__"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "functools": {"partial"},
    "numpy": {"array", "dtype", "ndarray", "ones"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random._pickle": {"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "random": {"Random"},
    "statistics": {"NormalDist"},
}  # fmt: skip
_NO_MODELS = {"checks", "datasets", "evaluate", "stream"}  # River's parts that read, write or eval
_STATE = {
    f"flows.core.{module}"
    for module in (
        "baselines",
        "broker",
        "calibration",
        "cloudevents",
        "concept_drift",
        "contest",
        "costs",
        "data_quality",
        "drift",
        "evaluation",
        "feature_drift",
        "labels",
        "learner",
        "models",
        "outliers",
        "recent",
        "rolling",
        "skill",
        "slices",
        "tasks",
        "watch",
    )
}


class Sealer:
    """Seals and opens snapshots with the project's secret.

    `functions_of` names the modules of the project's own pipelines, whose functions a model may refer to.
    """

    def __init__(self, secret: bytes, functions_of: Sequence[str] = ()) -> None:
        self._secret = secret
        self._functions_of = frozenset(functions_of)

    def seal_state(self, state: Any) -> bytes:
        """`state`, pickled and signed."""
        body = pickle.dumps(state, protocol=5)
        return self._sign(body) + body

    def open_state(self, sealed: bytes) -> Any:
        """What `seal_state` was given; raises `SnapshotError` if it was altered or is not ours."""
        signature, body = sealed[:32], sealed[32:]
        self._verify(body, signature)
        return self._unpickle(body)

    def seal(self, message: ModelMessage) -> tuple[bytes, bytes]:
        """The JSON of a model message and its signature, as they go to the models topic."""
        body = orjson.dumps(
            {
                "pipeline": message.pipeline,
                "version": message.model.version,
                "role": message.role,
                "time": iso(message.time),
                "task": message.model.task.name,
                "learned": message.model.learned,
                "lineage": dict(message.lineage),
                "estimator": base64.b64encode(pickle.dumps(message.model.estimator, protocol=5)).decode(),
            }
        )
        return body, self._sign(body)

    def open(self, body: bytes, signature: bytes) -> ModelMessage:
        """The message that `seal` was given; raises `SnapshotError` if it was altered or is not ours."""
        self._verify(body, signature)
        raw = orjson.loads(body)
        estimator = self._unpickle(base64.b64decode(raw["estimator"]))
        model = Model(raw["version"], estimator, raw["learned"], TASKS[raw["task"]])
        return ModelMessage(raw["pipeline"], raw["role"], milliseconds(raw["time"]), model, raw["lineage"])

    def record(self, topic: str, message: ModelMessage, identity: str) -> Outgoing:
        """The signed record of a model for the models topic; one with the same identity is written once."""
        body, signature = self.seal(message)
        model = message.model
        headers = (("id", identity.encode()), ("role", message.role.encode()), (SIGNATURE, signature))
        return Outgoing(topic, body, model.version.encode(), timestamp=message.time, headers=headers)

    def read(self, record: Record) -> ModelMessage:
        """The message of a record of the models topic; raises `SnapshotError`."""
        return self.open(record.value or b"", dict(record.headers).get(SIGNATURE, b""))

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")

    def _verify(self, body: bytes, signature: bytes) -> None:
        if not hmac.compare_digest(self._sign(body), signature):
            raise SnapshotError(
                "a snapshot is not signed with this project's secret and was not read; set DRIFTLINE_SECRET "
                "to the one that it was signed with, or start over without the state directory"
            )

    def _unpickle(self, body: bytes) -> Any:
        try:
            return _Unpickler(io.BytesIO(body), self._functions_of).load()
        except SnapshotError:
            raise
        except Exception as error:  # unpickling calls what the snapshot says, so anything can come of it
            raise SnapshotError(
                f"a snapshot cannot be read ({type(error).__name__}: {error}); "
                "was it written by another version of Driftline, River or the pipeline?"
            ) from error


class _Unpickler(pickle.Unpickler):
    """Finds what River defines, what the project's pipelines define, and `_NAMES`; nothing else."""

    def __init__(self, file: io.BytesIO, functions_of: frozenset[str]) -> None:
        super().__init__(file)
        self._defining = functions_of | _STATE

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return self._bound_method
        if name in _NAMES.get(module, ()):
            return getattr(importlib.import_module(module), name)
        if self._defines_models(module):
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
            if getattr(found, "__module__", None) == module:  # not something that the module imports
                return found
        raise _refusal(module, name)

    def _bound_method(self, owner: Any, name: str) -> Any:
        """What pickles of bound methods ask `getattr` for, and nothing else that it would give."""
        found = getattr(owner, name)
        if isinstance(found, MethodType) and self._defines_models(found.__module__):
            return found
        raise _refusal(type(owner).__module__, f"{type(owner).__qualname__}.{name}")

    def _defines_models(self, module: str) -> bool:
        package, _, rest = module.partition(".")
        if package == "river":
            return rest.partition(".")[0] not in _NO_MODELS
        return module in self._defining


def _refusal(module: str, name: str) -> SnapshotError:
    return SnapshotError(
        f"a snapshot refers to {module}.{name}, which models are not made of; it was not read"
    )
