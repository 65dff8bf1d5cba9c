"""Completes the document that FastAPI makes of the routes: bodies, answers, errors, tokens, examples."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from flows.core.serving.access.requests import needed
from flows.core.stream.fields import resolved
from flows.serve.openapi.records import record_schema, value_example
from flows.serve.openapi.schemas import SCHEMAS, Schema, listed, ref
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

_JSON, _LINES, _BYTES = "application/json", "application/x-ndjson", "application/octet-stream"
_ALWAYS = (400, 401, 403, 408, 413, 429, 503)
_WITH_PIPELINE = (404, 409, 415, 422)
_MEANINGS = {
    200: "The answer",
    202: "Accepted, and not answered yet",
    400: "The request is not as it must be",
    401: "There is no token, or it is not known",
    403: "The token does not allow this",
    404: "There is no such thing",
    408: "The body did not come in time",
    409: "This is not possible now",
    413: "The body is too large",
    415: "The body is of another type",
    422: "The record is not as declared, or became a dead letter",
    429: "Too many requests; ask again after some seconds",
    503: "Not possible at the moment; ask again after some seconds",
}


_STREAM = {
    "description": "Server-sent events, until the client goes",
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": 'id: 18\nevent: predictions\ndata: {"id": "A-4711", "score": 0.25}\n\n',
        }
    },
}


class _Answers(NamedTuple):
    """The schemas of an operation's answers by status, none for a stream, and the kind of its body."""

    answers: Mapping[int, Schema]
    body: str = ""


def _operations() -> dict[tuple[str, str], _Answers]:
    metadata, ready, infer = ({200: ref(name)} for name in ("Metadata", "Ready", "InferAnswer"))
    found: dict[tuple[str, str], _Answers] = {
        ("get", "/v2/health/live"): _Answers({200: ref("Live")}),
        ("get", "/v2/health/ready"): _Answers({200: ref("Ready")}),
        ("get", "/v2"): _Answers({200: ref("Server")}),
        ("get", "/v1"): _Answers({200: ref("Pipelines")}),
    }
    for path in ("/v2/models/{pipeline}", "/v2/models/{pipeline}/versions/{version}"):
        found["get", path] = _Answers(metadata)
        found["get", f"{path}/ready"] = _Answers(ready)
        found["post", f"{path}/infer"] = _Answers(infer, "infer")
    published = {200: ref("Published"), 202: ref("Published")}
    predicted = {200: {"anyOf": [ref("Prediction"), ref("Published")]}, 202: ref("Published")}
    done, v1 = {200: ref("Answered"), 202: ref("Sent")}, "/v1/{pipeline}"
    found |= {
        ("post", f"{v1}/events"): _Answers(predicted, "events"),
        ("post", f"{v1}/labels"): _Answers(published, "labels"),
        ("get", f"{v1}/predictions/{{event_id}}"): _Answers({200: ref("Prediction")}),
        ("get", f"{v1}/predictions/{{event_id}}/explanation"): _Answers({200: ref("Explanation")}),
        ("get", f"{v1}/overview"): _Answers({200: ref("Overview")}),
        ("get", f"{v1}/metrics"): _Answers({200: ref("Metrics")}),
        ("get", f"{v1}/drift"): _Answers({200: ref("DriftMap")}),
        ("get", f"{v1}/drift/{{window}}/{{feature}}"): _Answers({200: ref("Distributions")}),
        ("get", f"{v1}/dead-letters"): _Answers({200: ref("DeadLetters")}),
        ("get", f"{v1}/models"): _Answers({200: listed(ref("Version"))}),
        ("get", f"{v1}/models/history"): _Answers({200: listed(ref("Entry"))}),
        ("get", f"{v1}/models/{{version}}"): _Answers({200: ref("Lineage")}),
        ("get", f"{v1}/models/{{version}}/gates"): _Answers({200: listed(ref("Gate"))}),
        ("get", f"{v1}/streams/{{kind}}"): _Answers({}),
    }
    found["post", f"{v1}/dead-letters/replay"] = _Answers({200: ref("Replayed"), 202: ref("Replayed")})
    for action in ("freeze", "unfreeze", "retrain"):
        found["post", f"{v1}/models/{action}"] = _Answers(done)
    for action in ("promote", "retire", "rollback"):
        found["post", f"{v1}/models/{{version}}/{action}"] = _Answers(done)
    return found


def document_of(app: FastAPI, pipelines: ServedPipelines) -> Callable[[], dict[str, Any]]:
    """Return the function that makes the document, once."""
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(_document(app, pipelines))
        return made

    return document


def _document(app: FastAPI, pipelines: ServedPipelines) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=version("driftline"),
        description="Predictions of models that learn while they serve.",
        routes=app.routes,
    )
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(SCHEMAS)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Made by `driftline tokens create`."}
    }
    operations = _operations()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            _complete(operation, method, path, operations[method, path], pipelines)
    return found


def _complete(
    operation: dict[str, Any], method: str, path: str, about: _Answers, pipelines: ServedPipelines
) -> None:
    first = next(iter(pipelines.by_name))
    scope = needed(method.upper(), path.replace("{pipeline}", first))
    operation["security"] = [] if scope is None else [{"token": []}]
    if scope is not None and scope.scope is not None:
        operation["description"] = f"Needs a token with the scope `{scope.scope}`."
    has_pipeline = "{pipeline}" in path
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "pipeline":
            parameter["schema"] = {"type": "string", "enum": list(pipelines.by_name)}
        elif parameter["name"] == "version":
            parameter |= {"description": "A version or an alias.", "example": "champion"}
        elif parameter["name"] == "event_id":
            parameter["example"] = "A-4711"
    body = _bodies(about.body, pipelines)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    errors = _ALWAYS + (_WITH_PIPELINE if has_pipeline else ())
    operation["responses"] = {
        **({} if about.answers else {"200": _STREAM}),
        **{str(status): _answer(status, schema, about.body) for status, schema in about.answers.items()},
        **{str(status): _error(status) for status in sorted(errors)},
    }


def _answer(status: int, schema: Schema, body: str) -> dict[str, Any]:
    content: dict[str, Any] = {_JSON: {"schema": schema}}
    if body in ("events", "labels") and status == 200:
        content[_LINES] = {
            "schema": {"type": "string"},
            "example": '{"id": "A-4711", "status": "published"}\n',
        }
    if body == "infer":
        content[_BYTES] = {"schema": {"type": "string", "format": "binary"}}
    return {"description": _MEANINGS[status], "content": content}


def _error(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"description": _MEANINGS[status], "content": {_JSON: {"schema": ref("Error")}}}
    if status == 429:
        seconds = {
            "description": "Seconds",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
        found["headers"] = {"Retry-After": seconds}
    return found


def _bodies(kind: str, pipelines: ServedPipelines) -> dict[str, Any] | None:
    """Return the content of a body: of each pipeline, if there are several."""
    if not kind:
        return None
    if kind == "infer":
        examples = {name: {"value": _infer_example(each)} for name, each in pipelines.by_name.items()}
        return {_JSON: {"schema": ref("InferRequest"), "examples": examples}}
    schemas = [_record_schema(kind, each) for each in pipelines.by_name.values()]
    example = {
        name: {"value": schema["example"]} for name, schema in zip(pipelines.by_name, schemas, strict=True)
    }
    return {
        _JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, "examples": example},
    }


def _record_schema(kind: str, served: ServedPipeline) -> Schema:
    stream = served.pipeline.events if kind == "events" else served.pipeline.labels
    return record_schema(stream, resolved(stream.fields, served.plan.key_kinds))


def _infer_example(served: ServedPipeline) -> dict[str, Any]:
    """Return a request that names the entities, whose features are read from the online store."""
    fields = resolved(served.pipeline.events.fields, served.plan.key_kinds)
    columns = [column for column in served.rows.columns if column.name in fields]
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [1],
                "datatype": column.datatype,
                "data": [value_example(column.name, fields[column.name])],
            }
            for column in columns
            if column.name != served.pipeline.events.time
        ]
    }
