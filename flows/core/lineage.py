"""The lineage of a model version: what it was made of, by which code, and how good it was."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from flows.core.stored_format import LINEAGE
from flows.core.stream.times import iso, milliseconds
from flows.errors import ConfigError

Parameters = dict[str, dict[str, Any]]  # by step of the estimator, then by name


class CodeVersion(NamedTuple):
    """The git commit of the project, and whether its files are as committed."""

    commit: str
    clean: bool


class OffsetRange(NamedTuple):
    """The records of one partition with `start <= offset < end`."""

    topic: str
    partition: int
    start: int
    end: int


class DataRange(NamedTuple):
    """The records behind a model: event times (ms) from `since` to `until`, and their offsets."""

    since: int
    until: int
    offsets: tuple[OffsetRange, ...]


class SnapshotDigest(NamedTuple):
    """The SHA-256 (hexadecimal) and the size (bytes) of a pickled estimator."""

    sha256: str
    size: int

    @staticmethod
    def of(content: bytes) -> "SnapshotDigest":
        """Return the digest of a pickle."""
        return SnapshotDigest(sha256(content).hexdigest(), len(content))


class Lineage(NamedTuple):
    """The record of one snapshot of a model version.

    - `parent` is the version that it was trained to replace; `cause` says why it was made.
    - `created` is the event time (ms) of the last label learned, and `labels` counts the labels.
    - `code` is None if the project is in no git repository.
    - `plan` is the hash of the feature plan.
    - `parameters` are those of each step of the estimator, `libraries` the versions of the packages.
    - `metrics` are those of the served predictions by predictor and name, beside the baselines; empty if the
      version never served.
    """

    pipeline: str
    version: str
    parent: str | None
    cause: str
    created: int
    labels: int
    code: CodeVersion | None
    plan: str
    parameters: Parameters
    libraries: dict[str, str]
    data: DataRange
    metrics: dict[str, dict[str, float | None]]
    snapshot: SnapshotDigest

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain data for JSON, with times as ISO 8601."""
        return {
            **self._asdict(),
            "created": iso(self.created),
            "code": None if self.code is None else self.code._asdict(),
            "data": {
                "since": iso(self.data.since),
                "until": iso(self.data.until),
                "offsets": [each._asdict() for each in self.data.offsets],
            },
            "snapshot": self.snapshot._asdict(),
        }

    def to_json(self) -> bytes:
        """Return the record as JSON; `from_json` reads it."""
        return orjson.dumps({"format": str(LINEAGE), **self.as_dict()}, option=orjson.OPT_INDENT_2)

    @staticmethod
    def from_json(data: bytes) -> "Lineage":
        """Return the record that `to_json` wrote; raises `ConfigError` for anything else."""
        try:
            raw = orjson.loads(data)
            mismatch = LINEAGE.mismatch(raw.pop("format", None))
            if mismatch is None:
                return _parsed(raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            mismatch = f"must be JSON as `driftline models` writes it, got {type(error).__name__}: {error}"
        raise ConfigError(f"the lineage {mismatch}; export the version again")


def flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return nested plain data as pairs of a dotted name and a value.

    >>> flat({"a": {"b": 1, "c": [2, 3]}, "d": None})
    [('a.b', 1), ('a.c.0', 2), ('a.c.1', 3), ('d', None)]
    """
    if isinstance(value, dict) and value:
        return [pair for key, each in value.items() for pair in flat(each, f"{name}.{key}" if name else key)]
    if isinstance(value, list | tuple) and value:
        return [pair for at, each in enumerate(value) for pair in flat(each, f"{name}.{at}")]
    return [(name, value)]


def differences(first: Lineage, second: Lineage) -> dict[str, tuple[Any, Any]]:
    """Return what differs between the origins of two versions, by its dotted name; None where one has none.

    The metrics and the snapshots, which always differ, are left out.
    """
    one, other = _origin(first), _origin(second)
    names = dict.fromkeys([*one, *other])
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _origin(lineage: Lineage) -> dict[str, Any]:
    """Return what a version was made of; offsets are by partition, so that the same ones are compared."""
    origin = lineage.as_dict()
    for name in ("pipeline", "version", "metrics", "snapshot"):
        del origin[name]
    data = origin["data"]
    data["offsets"] = {
        f"{each.topic}/{each.partition}": f"{each.start} to {each.end}" for each in lineage.data.offsets
    }
    return dict(flat(origin))


def _parsed(raw: dict[str, Any]) -> Lineage:
    """Return the record of a JSON object; raises `ValueError`, `KeyError` or `TypeError`."""
    unknown = raw.keys() - set(Lineage._fields)
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    for name, kind in _KINDS.items():
        if not isinstance(raw[name], kind):
            raise TypeError(f"{name} must be {kind}, got {type(raw[name]).__name__}")
    code, data = raw["code"], raw["data"]
    return Lineage(
        **raw
        | {
            "created": milliseconds(raw["created"]),
            "code": None if code is None else CodeVersion(**code),
            "data": DataRange(
                milliseconds(data["since"]),
                milliseconds(data["until"]),
                tuple(OffsetRange(**each) for each in data["offsets"]),
            ),
            "snapshot": SnapshotDigest(**raw["snapshot"]),
        }
    )


_KINDS: Mapping[str, Any] = {
    "pipeline": str,
    "version": str,
    "parent": str | None,
    "cause": str,
    "created": str,
    "labels": int,
    "code": dict | None,
    "plan": str,
    "parameters": dict,
    "libraries": dict,
    "data": dict,
    "metrics": dict,
    "snapshot": dict,
}


def parameters_of(estimator: Any) -> Parameters:
    """Return the constructor's arguments of each step of a River estimator, as plain data for JSON.

    >>> from river import linear_model, preprocessing
    >>> parameters = parameters_of(preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.1))
    >>> parameters["StandardScaler"], parameters["LogisticRegression"]["l2"]
    ({'with_std': True, 'window_size': None}, 0.1)
    """
    steps = getattr(estimator, "steps", None)
    named = steps.items() if isinstance(steps, dict) else [(type(estimator).__name__, estimator)]
    return {str(name): _arguments(step) for name, step in named}


def _arguments(step: Any) -> dict[str, Any]:
    arguments: Mapping[str, Any] = getattr(
        step, "_get_params", dict
    )()  # River's own; a user's class may have none
    return {str(name): _plain(value) for name, value in arguments.items()}


def _plain(value: Any) -> Any:
    """Return an argument as JSON holds it; an object becomes its class with its arguments, or a name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if (
        isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], type)
    ):  # River's class, arguments
        return {value[0].__name__: _plain(value[1])}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def is_declared(announced: Mapping[str, Any]) -> bool:
    """Return whether a version is the first model of the declaration, from the lineage in its message.

    >>> is_declared({"plan": "906c8df9a34b"}), is_declared({"cause": "alarm"})
    (True, False)
    """
    return announced.keys().isdisjoint(("restores", "cause", "drift"))


def cause_of(announced: Mapping[str, Any]) -> str:
    """Return why a version was made, from the lineage in its message.

    >>> cause_of({"cause": "schedule", "why": "a month has passed"}), cause_of({"restores": "v1"})
    ('schedule: a month has passed', 'rollback to v1')
    """
    if "restores" in announced:
        return f"rollback to {announced['restores']}"
    if "cause" in announced:
        return f"{announced['cause']}: {announced.get('why', '')}"
    if "drift" in announced:  # of Driftline 0.2.0
        return f"alarm: {announced['drift']}"
    return "first model of the declaration"
