"""The OpenAPI document is complete, and the server keeps to it whatever it is asked."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jsonschema
import orjson
import pytest
from harness import PATIENCE, Project, wait_until
from made_flights import traffic
from places import ROOT
from served import Server, serving

SEED, EXAMPLES = "7", os.environ.get("DRIFTLINE_TEST_FUZZ", "5")  # cases of each operation
# without that of the header Allow, in which Starlette names the methods of the first route alone
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,ignored_auth"
)
# a prediction that is not there within a short wait is answered with 503, which the document has
CONFIGURATION = """
[[operations]]
include-path = "/v1/{pipeline}/events"
[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]
"""


class World(NamedTuple):
    server: Server
    token: str


@pytest.fixture(scope="module")
def world(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a server of a project whose flows run, and a token for everything."""
    copied = applied.copy_to(tmp_path_factory.mktemp("openapi") / "project")
    copied.apply_feast()
    project = copied.with_settings(HTTP_PORT=0, MODEL_SECONDS=0.05, EPOCH_SECONDS=0.5, SERVE_RATE=100_000)
    scopes = [part for scope in ("score", "publish", "read", "operate") for part in ("--scope", scope)]
    token = project.run("tokens", "create", "fuzzer", *scopes).stdout.strip()
    with project.flows("predict", "learn"), serving(project) as server:
        project.send(traffic(30))
        wait_until(lambda: len(project.values("predictions")) == 30, PATIENCE)
        yield World(server, token)


@pytest.fixture(scope="module")
def document(world: World) -> dict:
    return world.server.get("/openapi.json", headers={"authorization": f"Bearer {world.token}"}).json()


def operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_each_operation_has_a_summary_its_answers_errors_and_an_example(document):
    assert document["openapi"].startswith("3.1")
    for method, path, operation in operations(document):
        assert operation["summary"], path
        for status in ("401", "403", "429", "503"):
            assert "application/json" in operation["responses"][status]["content"]
        if "requestBody" in operation:
            shown = orjson.dumps(operation["requestBody"]) + orjson.dumps(document["components"]["schemas"])
            assert b'"example' in shown, (method, path)


def test_the_examples_are_valid_and_those_of_events_and_inference_are_accepted(document, world):
    headers = {"authorization": f"Bearer {world.token}"}
    for name, schema in document["components"]["schemas"].items():
        if "example" in schema:
            resolver = {**schema, "components": document["components"]}
            jsonschema.validate(schema["example"], resolver)
            assert name
    for path in ("/v1/{pipeline}/events", "/v2/models/{pipeline}/infer"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        example = content["examples"]["flight_delays"]["value"]
        answer = world.server.post(path.replace("{pipeline}", "flight_delays"), json=example, headers=headers)
        assert answer.status_code in (200, 202), answer.text


def test_the_page_lists_each_operation_with_its_scope(document):
    page = (ROOT / "docs" / "how-to" / "rest.md").read_text()
    rows = page[page.index("<!-- routes: checked") : page.index("<!-- routes: end")].splitlines()[3:]
    documented = {tuple(cell.strip(" `") for cell in row.split("|")[1:-1]) for row in rows}
    served = {
        (method.upper(), path, scope_of(operation), operation["summary"])
        for method, path, operation in operations(document)
    }
    assert documented == served


def scope_of(operation: dict) -> str:
    if not operation["security"]:
        return ""
    found = re.search(r"scope `(\w+)`", operation.get("description", ""))
    return found[1] if found else "any"


@pytest.mark.timeout(600)
def test_schemathesis_finds_no_answer_that_the_document_does_not_have(world, tmp_path: Path):
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command = [Path(sys.executable).with_name("st"), "run", f"{world.server.url}/openapi.json"]
    options = ["--header", f"Authorization: Bearer {world.token}", "--checks", CHECKS, "--seed", SEED,
               "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--exclude-path-regex",
               "/streams/", "--no-shrink", "--suppress-health-check", "all"]  # fmt: skip
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    (cases,) = re.findall(r"(\d[\d,]*) generated", done.stdout)
    assert int(cases.replace(",", "")) > 500, done.stdout[-3000:]
