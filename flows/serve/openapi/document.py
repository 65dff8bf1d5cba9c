"""Completes the document that FastAPI makes of the routes: bodies, answers, errors, tokens, examples."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from flows.core.serving.access.requests import needed
from flows.core.stream.fields import resolved
from flows.serve.openapi.records import record_schema, value_example
from flows.serve.openapi.schemas import SCHEMAS, TEXT, Schema, listed, ref
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

_JSON, _LINES, _BYTES = "application/json", "application/x-ndjson", "application/octet-stream"
_V1 = "/v1/{pipeline}"
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
    type: str = _JSON


_Operations = dict[tuple[str, str], _Answers]  # by method and path


def _operations() -> _Operations:
    return _server() | _inference() | _records() | _dashboard() | _models()


def _server() -> _Operations:
    return {
        ("get", "/v2/health/live"): _Answers({200: ref("Live")}),
        ("get", "/v2/health/ready"): _Answers({200: ref("Ready")}),
        ("get", "/v2"): _Answers({200: ref("Server")}),
        ("get", "/v1"): _Answers({200: ref("Pipelines")}),
    }


def _inference() -> _Operations:
    found: _Operations = {}
    for path in ("/v2/models/{pipeline}", "/v2/models/{pipeline}/versions/{version}"):
        found["get", path] = _Answers({200: ref("Metadata")})
        found["get", f"{path}/ready"] = _Answers({200: ref("Ready")})
        found["post", f"{path}/infer"] = _Answers({200: ref("InferAnswer")}, "infer")
    return found


def _records() -> _Operations:
    published = ref("Published")
    predicted = {"anyOf": [ref("Prediction"), published]}
    return {
        ("post", f"{_V1}/events"): _Answers({200: predicted, 202: published}, "events"),
        ("post", f"{_V1}/labels"): _Answers({200: published, 202: published}, "labels"),
        ("get", f"{_V1}/predictions/{{event_id}}"): _Answers({200: ref("Prediction")}),
        ("get", f"{_V1}/predictions/{{event_id}}/explanation"): _Answers({200: ref("Explanation")}),
        ("get", f"{_V1}/streams/{{kind}}"): _Answers({}),
    }


def _dashboard() -> _Operations:
    return {
        ("get", f"{_V1}/overview"): _Answers({200: ref("Overview")}),
        ("get", f"{_V1}/metrics"): _Answers({200: ref("Metrics")}),
        ("get", f"{_V1}/drift"): _Answers({200: ref("DriftMap")}),
        ("get", f"{_V1}/drift/{{window}}/{{feature}}"): _Answers({200: ref("Distributions")}),
        ("get", f"{_V1}/dead-letters"): _Answers({200: ref("DeadLetters")}),
        ("post", f"{_V1}/dead-letters/replay"): _Answers({200: ref("Replayed"), 202: ref("Replayed")}),
    }


def _models() -> _Operations:
    all_of, one = f"{_V1}/models", f"{_V1}/models/{{version}}"
    done = _Answers({200: ref("Answered"), 202: ref("Sent")})
    return {
        ("get", all_of): _Answers({200: listed(ref("Version"))}),
        ("get", f"{all_of}/history"): _Answers({200: listed(ref("Entry"))}),
        ("get", f"{all_of}/history/verification"): _Answers({200: ref("Verification")}),
        ("get", one): _Answers({200: ref("Lineage")}),
        ("get", f"{one}/card"): _Answers({200: TEXT}, type="text/markdown"),
        ("get", f"{one}/bom"): _Answers({200: ref("Bill")}),
        ("get", f"{one}/compare/{{other}}"): _Answers({200: ref("Comparison")}),
        ("get", f"{one}/reproduction"): _Answers({200: ref("Reproduction")}),
        ("post", f"{one}/reproduce"): _Answers({202: ref("Reproduction")}),
        ("get", f"{one}/gates"): _Answers({200: listed(ref("Gate"))}),
        **{("post", f"{all_of}/{action}"): done for action in ("freeze", "unfreeze", "retrain")},
        **{("post", f"{one}/{action}"): done for action in ("promote", "retire", "rollback")},
    }


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
        elif parameter["name"] in ("version", "other"):
            parameter |= {"description": "A version or an alias.", "example": "champion"}
        elif parameter["name"] == "event_id":
            parameter["example"] = "A-4711"
    body = _bodies(about.body, pipelines)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    errors = _ALWAYS + (_WITH_PIPELINE if has_pipeline else ())
    operation["responses"] = {
        **({} if about.answers else {"200": _STREAM}),
        **{str(status): _answer(status, schema, about) for status, schema in about.answers.items()},
        **{str(status): _error(status) for status in sorted(errors)},
    }


def _answer(status: int, schema: Schema, about: _Answers) -> dict[str, Any]:
    content: dict[str, Any] = {about.type: {"schema": schema}}
    if about.body in ("events", "labels") and status == 200:
        content[_LINES] = {
            "schema": {"type": "string"},
            "example": '{"id": "A-4711", "status": "published"}\n',
        }
    if about.body == "infer":
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
