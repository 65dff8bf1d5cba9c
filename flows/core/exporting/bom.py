"""The machine-learning bill of materials of a version: CycloneDX 1.6 in JSON (ECMA-424)."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from flows.core.exporting.facts import ModelFacts, limits
from flows.core.lineage import Lineage, OffsetRange
from flows.core.stream.times import iso

SPEC = "1.6"
_SCHEMA = f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json"
_LEARNING = {"anomaly": "unsupervised"}  # by task; the others learn from labels


def bill_of_materials(facts: ModelFacts, made_at: int) -> bytes:
    """Return the document; `made_at` is the time (ms) at which it is made.

    Its serial number is the same for the same snapshot and time.
    """
    lineage = facts.lineage
    model, libraries, data = _model(facts), _libraries(lineage), _data(facts)
    document = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{_ref(lineage)}:{made_at}')}",
        "version": 1,
        "metadata": {
            "timestamp": iso(made_at),
            "tools": {"components": [_driftline(lineage)]},
            "component": model,
        },
        "components": [*libraries, *data],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [each["bom-ref"] for each in (*libraries, *data)]}
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _ref(lineage: Lineage) -> str:
    return f"model:{lineage.pipeline}/{lineage.version}@{lineage.snapshot.sha256}"


def _driftline(lineage: Lineage) -> dict[str, Any]:
    return {"type": "application", "name": "driftline", "version": lineage.libraries.get("driftline", "")}


def _model(facts: ModelFacts) -> dict[str, Any]:
    lineage = facts.lineage
    return {
        "type": "machine-learning-model",
        "bom-ref": _ref(lineage),
        "name": lineage.pipeline,
        "version": lineage.version,
        "description": facts.purpose or f"A model of task {facts.task} for {facts.target!r}.",
        "hashes": [{"alg": "SHA-256", "content": lineage.snapshot.sha256}],
        "pedigree": _pedigree(lineage),
        "modelCard": {
            "modelParameters": {
                "approach": {"type": _LEARNING.get(facts.task, "supervised")},
                "task": facts.task,
                "architectureFamily": "online learning",
                "modelArchitecture": " | ".join(facts.steps),
                "datasets": [{"ref": _data_ref(each)} for each in lineage.data.offsets],
                "inputs": [{"format": f"{each.name}: {each.kind}"} for each in facts.features],
                "outputs": [{"format": facts.answer}],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(facts))},
            "considerations": {
                "technicalLimitations": limits(facts),
                "fairnessAssessments": list(_fairness(facts)),
            },
        },
        "properties": list(_properties(facts)),
    }


def _pedigree(lineage: Lineage) -> dict[str, Any]:
    """Return where the model comes from: its parent, its commit, and why it was made."""
    pedigree: dict[str, Any] = {"notes": lineage.cause}
    if lineage.parent is not None:
        parent = {"type": "machine-learning-model", "name": lineage.pipeline, "version": lineage.parent}
        pedigree["ancestors"] = [parent]
    if lineage.code is not None:
        pedigree["commits"] = [{"uid": lineage.code.commit}]
    return pedigree


def _metrics(facts: ModelFacts) -> Iterator[dict[str, Any]]:
    """Yield the metrics of the model and its baselines over all labels, and the error rate by slice."""
    for predictor, values in facts.lineage.metrics.items():
        for name, value in values.items():
            if value is not None and isfinite(value):
                yield {
                    "type": name if predictor == "model" else f"{name} ({predictor})",
                    "value": repr(value),
                }
    for column, table in facts.slices.items():
        for group in table["groups"]:
            if group["error"] is not None:
                slice_ = f"{column} = {group['value']}"
                yield {"type": "error rate", "value": repr(group["error"]), "slice": slice_}


def _fairness(facts: ModelFacts) -> Iterator[dict[str, Any]]:
    for column, table in facts.slices.items():
        measured = [f"{n} {v:.4g}" for n, v in table["fairness"].items() if v is not None]
        yield {
            "groupAtRisk": f"the groups of {column}",
            "harms": f"differences between the groups: {', '.join(measured) or 'too few labels to measure'}",
        }


def _properties(facts: ModelFacts) -> Iterator[dict[str, str]]:
    lineage = facts.lineage
    values: Mapping[str, Any] = {
        "role": facts.role,
        "created": iso(lineage.created),
        "labels": lineage.labels,
        "plan": lineage.plan,
        "parameters": orjson.dumps(lineage.parameters).decode(),
        "working-tree": None if lineage.code is None else "clean" if lineage.code.clean else "changed",
        "drift-signals": len(facts.signals),
    }
    for name, value in values.items():
        if value is not None:
            yield {"name": f"driftline:{name}", "value": str(value)}


def _libraries(lineage: Lineage) -> list[dict[str, Any]]:
    return [_library(name, version) for name, version in lineage.libraries.items()]


def _library(name: str, version: str) -> dict[str, Any]:
    if name == "python":
        return {"type": "platform", "bom-ref": f"python@{version}", "name": name, "version": version}
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _data(facts: ModelFacts) -> list[dict[str, Any]]:
    data = facts.lineage.data
    return [
        {
            "type": "data",
            "bom-ref": _data_ref(each),
            "name": f"{each.topic}/{each.partition}",
            "description": f"offsets {each.start} to {each.end}, event time {iso(data.since)} to "
            f"{iso(data.until)}",
            "data": [{"type": "dataset", "name": each.topic}],
        }
        for each in data.offsets
    ]


def _data_ref(each: OffsetRange) -> str:
    return f"data:{each.topic}/{each.partition}"
