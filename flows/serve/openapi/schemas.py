"""The schemas of what is asked and answered, the same for all pipelines."""

from typing import Any, get_args

from flows.core.serving.inference.plain import MOST_ROWS
from flows.core.serving.inference.tensors import DataType

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
SCORE: Schema = {
    "anyOf": [{"type": "number"}, {"type": "object", "additionalProperties": {"type": "number"}}]
}


def ref(name: str) -> Schema:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def record(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """Return the schema of an object with these members."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": [*required], **more}


_PARAMETERS: Schema = {"type": ["object", "null"], "additionalProperties": SCALAR}
_DATATYPE: Schema = {"enum": list(get_args(DataType))}
_TENSOR = {"name": TEXT, "datatype": _DATATYPE, "shape": listed({"type": "integer"})}
_ROWS: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_ROWS}
_WANTED = record({"name": TEXT}, {"parameters": _PARAMETERS})
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_PLAIN: Schema = {"type": "object", "additionalProperties": True}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_STATE: Schema = {"enum": ["running", "empty", "behind", "stopped", "broken"]}
_FLOW: Schema = record(
    {"flow": TEXT, "state": {"enum": ["running", "behind", "starting", "stopped", "unknown"]}},
    {"why": MAYBE_TEXT, "lag": {"type": ["integer", "null"]}, "rate": _MAYBE_NUMBER},
)

SCHEMAS: dict[str, Schema] = {
    "Error": record(
        {"error": TEXT},
        {"reason": TEXT},
        example={"error": "the pipeline must be one of flight_delays, got 'flights'"},
    ),
    "Live": record({"live": {"const": True}}, example={"live": True}),
    "Ready": record({"ready": {"const": True}}, example={"ready": True}),
    "Server": record(
        {"name": TEXT, "version": TEXT, "extensions": listed(TEXT)},
        example={"name": "driftline", "version": "0.2.0", "extensions": ["binary_tensor_data"]},
    ),
    "Pipelines": record({"pipelines": listed(TEXT)}, example={"pipelines": ["flight_delays"]}),
    "Overview": record(
        {"pipeline": TEXT, "task": TEXT, "state": _STATE},
        {
            "why": TEXT,
            "flows": listed(_FLOW),
            "topics": listed(record({"topic": TEXT, "records": WHOLE, "rate": _MAYBE_NUMBER})),
            "latency": {"type": ["object", "null"], "description": "Quantiles in seconds: p50 and p99."},
            "events": WHOLE,
            "names": _PLAIN,
            "champion": {"type": ["object", "null"]},
            "learned": _PLAIN,
        },
        description="The state `broken` has a `why`, the others have the rest. Rates are per second.",
    ),
    "Metrics": record(
        {
            "bigger_is_better": _PLAIN,
            "total": listed(_PLAIN),
            "recent": listed(_PLAIN),
            "changes": listed(_PLAIN),
            "signals": listed(_PLAIN),
            "assessment": {"type": ["object", "null"]},
        },
        description="Evenly spaced messages of the metrics topic, changes of versions, and drift signals.",
    ),
    "DriftMap": record(
        {
            "predictions": WHOLE,
            "unread": WHOLE,
            "since": MAYBE_TEXT,
            "is_complete": _FLAG,
            "is_comparing": _FLAG,
            "is_watched": _FLAG,
            "policy": _PLAIN,
            "columns": listed(TEXT),
            "windows": listed(
                record(
                    {"number": WHOLE, "since": TEXT, "until": TEXT, "restarted": _FLAG},
                    {"psi": listed(_MAYBE_NUMBER), "drifted": listed(TEXT)},
                )
            ),
            "signals": listed(_PLAIN),
        },
        description="The PSI of the columns in each window of served predictions, as far as they are read.",
    ),
    "Distributions": record(
        {
            "column": TEXT,
            "number": WHOLE,
            "psi": _NUMBER,
            "p_value": _NUMBER,
            "drifted": _FLAG,
            "before": _NUMBER,
            "after": _NUMBER,
            "category": MAYBE_TEXT,
            "bins": listed({"type": ["string", "number", "null"]}),
            "reference": listed(_NUMBER),
            "window": listed(_NUMBER),
        },
        {"since": TEXT, "until": TEXT},
        description="The shares by category, or by the upper bound of a bin; the last bin has none.",
    ),
    "DeadLetters": record(
        {
            "total": WHOLE,
            "inputs": listed(TEXT),
            "counts": listed(record({"reason": TEXT, "topic": TEXT, "records": WHOLE})),
            "newest": listed(
                record(dict.fromkeys(("place", "time", "reason", "topic", "detail", "value"), TEXT))
            ),
        }
    ),
    "Replayed": record(
        {
            "status": {"enum": ["done", "sent"]},
            "sent": WHOLE,
            "skipped": listed(record({"topic": TEXT, "records": WHOLE, "why": TEXT})),
            "failed": WHOLE,
            "failures": listed(record(dict.fromkeys(("place", "reason", "topic", "detail"), TEXT))),
        },
        description="With the status `sent` the flows have not read all of them yet, so more may fail again.",
        example={"status": "done", "sent": 1, "skipped": [], "failed": 0, "failures": []},
    ),
    "Metadata": record(
        {
            "name": TEXT,
            "versions": listed(TEXT),
            "platform": TEXT,
            "inputs": listed(record(_TENSOR)),
            "outputs": listed(record(_TENSOR)),
        }
    ),
    "InputTensor": record(
        {
            "name": TEXT,
            "datatype": _DATATYPE,
            "shape": {"type": "array", "items": _ROWS, "minItems": 1, "maxItems": 2},
        },
        {"data": listed({}), "parameters": _PARAMETERS},
        description=f"A column of 1 to {MOST_ROWS:,} rows; null is a missing value.",
    ),
    "InferRequest": record(
        {"inputs": {"type": "array", "items": ref("InputTensor"), "minItems": 1}},
        {"id": MAYBE_TEXT, "parameters": _PARAMETERS, "outputs": listed(_WANTED)},
    ),
    "InferAnswer": record(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "parameters": record({"learned": WHOLE}),
            "outputs": listed(record(_TENSOR, {"data": listed(SCALAR), "parameters": _PARAMETERS})),
        },
        {"id": TEXT},
        example={
            "model_name": "flight_delays",
            "model_version": "v1",
            "parameters": {"learned": 1200},
            "outputs": [
                {"name": "score", "datatype": "FP64", "shape": [1], "data": [0.25]},
                {"name": "label", "datatype": "BOOL", "shape": [1], "data": [False]},
            ],
        },
    ),
    "Published": record(
        {"id": TEXT, "status": {"enum": ["published", "known"]}},
        example={"id": "A-4711", "status": "published"},
    ),
    "Prediction": record(
        {"id": TEXT, "time": TEXT, "score": SCORE, "model": TEXT, "shadows": _PLAIN},
        {"learned": WHOLE, "features": {"type": ["object", "array"]}, "plan": TEXT},
        example={
            "id": "A-4711",
            "time": "2026-01-31T12:00:00.000Z",
            "score": 0.25,
            "model": "v1",
            "learned": 1200,
            "shadows": {},
            "features": {"amount": 9.5},
        },
    ),
    "Explanation": record(
        {
            "event": TEXT,
            "model": TEXT,
            "score": SCORE,
            "base": {"type": "number"},
            "contributions": listed(record({"feature": TEXT, "contribution": {"type": "number"}})),
        },
        example={
            "event": "A-4711",
            "model": "v1",
            "score": 0.25,
            "base": -0.5,
            "contributions": [{"feature": "amount", "value": 9.5, "contribution": -0.6}],
        },
    ),
    "Version": record(
        {"version": TEXT, "role": TEXT, "alias": MAYBE_TEXT, "frozen": _FLAG, "labels": WHOLE},
        example={"version": "v1", "role": "champion", "alias": "champion", "frozen": False, "labels": 1200},
    ),
    "Entry": record(
        {
            "entry": WHOLE,
            "time": TEXT,
            "change": TEXT,
            "version": TEXT,
            "labels": WHOLE,
            "who": TEXT,
            "why": TEXT,
        },
        example={
            "entry": 3,
            "time": "2026-01-31T12:00:00.000Z",
            "change": "frozen",
            "version": "v1",
            "labels": 1200,
            "who": "ada",
            "why": "the labels are late",
        },
    ),
    "Verification": record(
        {
            "verified": _FLAG,
            "entries": WHOLE,
            "breaks": listed(record({"partition": WHOLE, "offset": WHOLE, "fault": TEXT})),
        },
        example={"verified": True, "entries": 12, "breaks": []},
    ),
    "Bill": record({"bomFormat": {"const": "CycloneDX"}, "specVersion": TEXT}),
    "Comparison": record(
        {
            "first": TEXT,
            "second": TEXT,
            "lineage": _PLAIN,
            "labels": WHOLE,
            "block": WHOLE,
            "measures": listed(
                record(
                    {
                        "name": TEXT,
                        "first": _MAYBE_NUMBER,
                        "second": _MAYBE_NUMBER,
                        "bigger_is_better": _FLAG,
                        "confidence": _MAYBE_NUMBER,
                        "difference": _MAYBE_NUMBER,
                        "better": MAYBE_TEXT,
                    }
                )
            ),
        },
        description="As `driftline models compare --json`.",
    ),
    "Reproduction": record(
        {"version": TEXT, "rows": WHOLE, "status": {"enum": ["running", "done", "failed"]}},
        {
            "result": record(
                dict.fromkeys(("version", "made", "recorded", "again"), TEXT),
                {"rows": WHOLE, "same": _FLAG, "differences": listed(TEXT)},
                description="As `driftline models reproduce --json`.",
            ),
            "error": TEXT,
        },
        description="With the status `done` it has the `result`, with `failed` the `error`.",
        example={"version": "v2-fresh", "rows": 1200, "status": "running"},
    ),
    "Lineage": record({"role": TEXT, "frozen": _FLAG}, example={"role": "champion", "frozen": False}),
    "Gate": record(
        {"name": TEXT, "value": {"type": ["number", "null"]}, "required": _NUMBER, "passed": _FLAG},
        example={"name": "labels", "value": 400, "required": 500, "passed": False},
    ),
    "Answered": record(
        {"command": TEXT, "status": {"const": "done"}, "entries": listed(ref("Entry"))},
        example={"command": "f0", "status": "done", "entries": []},
    ),
    "Sent": record(
        {"command": TEXT, "status": {"const": "sent"}}, example={"command": "f0", "status": "sent"}
    ),
}  # fmt: skip
