"""Exports a version to devices: a signed package, and the runtime that verifies and runs it."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from sys import float_info
from typing import Any, NamedTuple

from flows import edge
from flows.core.exporting.edge_form import edge_form
from flows.core.exporting.facts import ModelFacts
from flows.core.exporting.source_slice import sliced
from flows.core.features.plan import COUNTS, FeaturePlan
from flows.core.models.model import Model
from flows.core.models.signing_keys import hkdf_sha256
from flows.core.stream.fields import INT64, Field, Flag, Key, Number, Text, resolved
from flows.core.stream.times import YEAR_2100, iso
from flows.edge import package
from flows.edge.ed25519 import public_key
from flows.edge.model import EdgeModel
from flows.errors import ConfigError, DriftlineError
from flows.host.functions import reference, source_of_module
from flows.jobs.models.exports import scored_rows, write_file
from flows.pipeline import Pipeline

CHECKED_ROWS = 1000  # of the last served predictions
_LONGEST = 2**20  # characters of a feature that is a text
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of the files in the runtime, so that equal code gives equal bytes

_WHOLE = {"kind": "whole", "low": INT64.start, "high": INT64.stop - 1}
_OF_DTYPE: Mapping[str, dict[str, Any]] = {
    "int": _WHOLE,
    "float": {"kind": "number", "low": -float_info.max, "high": float_info.max},
    "string": {"kind": "text", "low": 0, "high": _LONGEST},
}


class EdgeExport(NamedTuple):
    """How many served rows a package was checked on, and its bytes."""

    rows: int
    size: int


def edge_secret(secret: bytes) -> bytes:
    """Return the secret that signs packages, derived from the project's."""
    return hkdf_sha256(secret, b"driftline", b"edge packages")


def export_edge(
    out: Path,
    facts: ModelFacts,
    model: Model,
    pipeline: Pipeline,
    plan: FeaturePlan,
    rows: Sequence[Sequence[Any]],
    secret: bytes,
) -> EdgeExport:
    """Write the package of a version into the folder `out`.

    Raises `ConfigError` for a model that has no such form and without a served row that it scores, and
    `DriftlineError` if the package scores a served row otherwise, if only in the last bit; then nothing is
    written.
    """
    files = _Functions().files_of(facts, model, pipeline, plan)
    checked = _check(files, model, pipeline.feature_names(plan), rows)
    files[package.SIGNATURE] = package.signed(files, secret)
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out must be a folder, got {out} ({error.strerror}); name another") from error
    for name, content in files.items():  # the signature is the last
        write_file(out / name, content)
    return EdgeExport(checked, sum(map(len, files.values())))


def write_runtime(out: Path, secret: bytes) -> bytes:
    """Write the runtime as one executable file, which trusts the key of this project; return the key."""
    key = public_key(secret)
    write_file(out, runtime(key))
    out.chmod(0o755)
    return key


def runtime(key: bytes) -> bytes:
    """Return the runtime with a public key: a zip archive that Python runs."""
    main = f"import sys\n\nfrom driftline_edge.main import main\n\nsys.exit(main(key={key.hex()!r}))\n"
    modules = {
        f"driftline_edge/{each.name}": each.read_bytes()
        for each in resources(edge).iterdir()
        if each.name.endswith(".py")
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for name, content in sorted({"__main__.py": main.encode(), **modules}.items()):
            written.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return b"#!/usr/bin/env python3\n" + archive.getvalue()


class _Functions:
    """Collects the functions of a model, each in a file with what it uses of its module."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def files_of(
        self, facts: ModelFacts, model: Model, pipeline: Pipeline, plan: FeaturePlan
    ) -> dict[str, bytes]:
        """Return the files of a package, without the signature."""
        form, lineage = edge_form(model.estimator, self._step), facts.lineage
        description = {
            "pipeline": lineage.pipeline,
            "version": lineage.version,
            "learned": lineage.labels,
            "created": iso(lineage.created),
            "plan": lineage.plan,
            "snapshot": lineage.snapshot.sha256,
            "score": facts.answer,
            "features": dict(_schema(pipeline, plan)),
            **form._asdict(),
        }
        return {package.MODEL: json.dumps(description, indent=1, allow_nan=False).encode(), **self._files}

    def _step(self, function: Any) -> dict[str, Any]:
        place = reference(function)
        if not place:
            name = getattr(function, "__name__", type(function).__name__)
            raise ConfigError(
                f"the function {name!r} must be one of a module to be exported to the edge, got a lambda, a "
                "method or a nested function; define it with `def` at the top of a module"
            )
        module, _, name = place.partition(":")
        source = sliced(source_of_module(module), name)
        file = f"{name}.py" if f"{name}.py" not in self._files else f"{name}_{len(self._files)}.py"
        self._files[file] = f"{source}\n".encode()
        return {"kind": "function", "file": file, "function": name}


def _schema(pipeline: Pipeline, plan: FeaturePlan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the schema of each feature, in the order of the model."""
    fields = resolved(pipeline.events.fields, plan.key_kinds)
    for name in pipeline.inputs:
        yield name, {**_of_field(fields[name]), "optional": not fields[name].required}
    counts = {
        f"{view.name}__{each.name}"
        for view in plan.views
        for each in view.aggregates
        if each.function in (*COUNTS, "sum")
    }
    for name, dtype in zip(plan.names, plan.dtypes, strict=True):
        yield name, {**_OF_DTYPE[dtype], "optional": name not in counts}


def _of_field(field: Field) -> dict[str, Any]:
    match field:
        case Number(low=low, high=high):
            return {"kind": "number", "low": low, "high": high}
        case Text(longest=longest):
            return {"kind": "text", "low": 1, "high": longest}
        case Key(kind=kind):
            return _WHOLE if kind == "integer" else {"kind": "text", "low": 1, "high": 256}
        case Flag():
            return {"kind": "flag"}
    return {"kind": "whole", "low": 0, "high": YEAR_2100}


def _check(
    files: Mapping[str, bytes], model: Model, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> int:
    """Return on how many served rows the package gives the model's scores, to the last bit."""
    exported, checked = EdgeModel(files), 0
    for row, score in scored_rows(model, names, rows):
        answer = exported.answer({"id": "row", "features": dict(zip(names, row, strict=True))})
        if answer.get("score") != score:
            found = answer.get("score", answer.get("error"))
            raise DriftlineError(
                f"a package must give the model's scores to the last bit, got {found} for {score} on a "
                "served row; nothing was written"
            )
        checked += 1
    if not checked:
        raise ConfigError(
            "a package is checked on served predictions of the current feature plan, got none that the "
            "model scores; run the flows until there are some"
        )
    return checked
