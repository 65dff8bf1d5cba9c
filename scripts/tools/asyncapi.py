"""Generates docs/asyncapi.json, the AsyncAPI 3.0 document of the topics and webhooks, from docs/schemas."""

import json
import tomllib
from pathlib import Path
from typing import Any

from flows.pipeline import OUTPUTS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
PIPELINE = {"pipeline": {"description": "The pipeline's name."}}

# topic: schema of the value, schema of the headers, description of the key
TOPICS: dict[str, tuple[str | None, str | None, str]] = {
    "predictions": ("prediction", "prediction-headers", "The event's id."),
    "features": ("features", None, "The view."),
    "models": ("model", "model-headers", "The model's version."),
    "metrics": ("metrics", None, "None."),
    "drift": ("drift", "drift-headers", "The signal's id."),
    "learned": ("learned", None, "None."),
    "registry": ("registry", "registry-headers", "The model's version."),
    "commands": ("command", "command-headers", "The command's id."),
    "dead-letters": (None, "dead-letter-headers", "That of the record."),
}
# message: schema of the body, content type
WEBHOOKS = {
    "cloudevent": ("drift", "application/cloudevents+json"),
    "alertmanager": ("webhook-alertmanager", "application/json"),
    "test": ("webhook-test", "application/cloudevents+json"),
}


def document() -> dict[str, Any]:
    """Return the document."""
    assert tuple(TOPICS) == OUTPUTS
    channels = {kind: _topic(kind) for kind in TOPICS} | {"webhook": _webhook()}
    messages = {kind: _record(kind) for kind in TOPICS}
    messages |= {f"webhook-{name}": _posted(name) for name in WEBHOOKS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Driftline",
            "version": tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"],
            "description": "The topics of each pipeline that are not inputs, and webhooks.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {f"send-{name}": _sends(name) for name in channels},
        "components": {"messages": messages, "schemas": _schemas()},
    }


def _topic(kind: str) -> dict[str, Any]:
    return {
        "address": f"{{pipeline}}.{kind}",
        "parameters": PIPELINE,
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
    }


def _webhook() -> dict[str, Any]:
    messages = {name: {"$ref": f"#/components/messages/webhook-{name}"} for name in WEBHOOKS}
    return {"address": None, "description": "The URL of an endpoint; a POST.", "messages": messages}


def _record(kind: str) -> dict[str, Any]:
    value, headers, key = TOPICS[kind]
    message: dict[str, Any] = {"bindings": {"kafka": {"key": {"type": "string", "description": key}}}}
    if value is not None:
        message["payload"] = {"$ref": f"#/components/schemas/{value}"}
    else:
        message["contentType"] = "application/octet-stream"
    if headers is not None:
        message["headers"] = {"$ref": f"#/components/schemas/{headers}"}
    return message


def _posted(name: str) -> dict[str, Any]:
    body, content_type = WEBHOOKS[name]
    return {
        "contentType": content_type,
        "headers": {"$ref": "#/components/schemas/webhook-headers"},
        "payload": {"$ref": f"#/components/schemas/{body}"},
    }


def _sends(channel: str) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}}


def _schemas() -> dict[str, Any]:
    files = sorted((DOCS / "schemas").glob("*.json"))
    return {
        file.stem: {"schemaFormat": SCHEMA_FORMAT, "schema": json.loads(file.read_text("utf-8"))}
        for file in files
    }


def text() -> str:
    """Return the document as text."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (DOCS / "asyncapi.json").write_text(text(), "utf-8")
