"""The OpenAPI document is complete, and the server keeps to it whatever it is asked."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import jsonschema
import orjson
import pytest
from harness import PATIENCE, Project, wait_until
from made_flights import traffic
from places import ROOT
from served import Server, serving

SEED, EXAMPLES = "7", int(os.environ.get("DRIFTLINE_TEST_FUZZ", "5"))  # cases of each operation
LONGEST = 900 if EXAMPLES <= 5 else 0  # seconds; 0 is without a limit
# A stream does not end; test_lifecycle_and_streams.py asks for those.
ENDLESS = "/streams/"
# What a schema cannot say is answered as the document has it: a prediction that is not there within a short
# wait by 503, a time that is more than an hour ahead by 422, columns that do not fit one another by 400.
CONFIGURATION = """
[[operations]]
include-path = "/v1/{pipeline}/events"
[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "409", "422", "503"]

[[operations]]
include-path = "/v1/{pipeline}/labels"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "409", "422"]

[[operations]]
include-path-regex = "/infer$"
[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404"]
"""


class World(NamedTuple):
    server: Server
    token: str
    scorer: str  # a token that allows to score only


@pytest.fixture(scope="module")
def world(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a server of a project whose flows run, and a token for everything."""
    copied = applied.copy_to(tmp_path_factory.mktemp("openapi") / "project")
    copied.apply_feast()
    project = copied.with_settings(HTTP_PORT=0, MODEL_SECONDS=0.05, EPOCH_SECONDS=0.5, SERVE_RATE=100_000)
    scopes = [part for scope in ("score", "publish", "read", "operate") for part in ("--scope", scope)]
    token = project.run("tokens", "create", "fuzzer", *scopes).stdout.strip()
    scorer = project.run("tokens", "create", "scorer", "--scope", "score").stdout.strip()
    with project.flows("predict", "learn"), serving(project) as server:
        project.send(traffic(30))
        wait_until(lambda: len(project.values("predictions")) == 30, PATIENCE)
        yield World(server, token, scorer)


@pytest.fixture(scope="module")
def document(world: World) -> dict:
    return world.server.get("/openapi.json", headers=bearer(world.token)).json()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


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
    headers = bearer(world.token)
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


class Fuzzed(NamedTuple):
    """A run of Schemathesis: its exit code, what it printed, and the requests that it sent."""

    code: int
    said: str
    requests: list[dict]


def fuzzed(world: World, token: str, folder: Path, examples: int) -> Fuzzed:
    """Ask the server with valid and invalid data, and check each answer in all ways."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    (folder / "openapi.json").write_bytes(
        world.server.get("/openapi.json", headers=bearer(world.token)).content
    )
    command = [Path(sys.executable).with_name("st"), "run", "openapi.json", "--url", world.server.url]
    options = ["--header", f"Authorization: Bearer {token}"] if token else []
    options += ["--checks", "all", "--mode", "all", "--seed", SEED, "--max-examples", str(examples),
                "--exclude-path-regex", ENDLESS, "--request-timeout", "120", "--no-shrink",
                "--suppress-health-check", "all",
                "--report", "har", "--report-har-path", "requests.har"]  # fmt: skip
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
    report = orjson.loads((folder / "requests.har").read_bytes())
    return Fuzzed(done.returncode, done.stdout[-20_000:] + done.stderr, report["log"]["entries"])


def asked(document: dict, requests: list[dict]) -> Counter[tuple[str, str]]:
    """Return how often each operation was asked; of several paths that match, that with fewer parameters."""
    patterns = {
        path: re.compile(re.sub(r"\\{\w+\\}", "[^/]*", re.escape(path))) for path in document["paths"]
    }
    found: Counter[tuple[str, str]] = Counter()
    for request in (each["request"] for each in requests):
        path = httpx.URL(request["url"]).raw_path.decode().partition("?")[0]
        matching = [name for name, pattern in patterns.items() if pattern.fullmatch(path)]
        if matching:
            found[request["method"].lower(), min(matching, key=lambda name: name.count("{"))] += 1
    return found


@pytest.mark.timeout(LONGEST)
def test_schemathesis_finds_no_answer_that_the_document_does_not_have(document, world, tmp_path: Path):
    found = fuzzed(world, world.token, tmp_path, EXAMPLES)
    assert found.code == 0, found.said
    counts = asked(document, found.requests)
    for method, path, _ in operations(document):
        assert counts[method, path] >= (0 if ENDLESS in path or "{" not in path else EXAMPLES), path
        print(f"{counts[method, path]:6,} {method.upper()} {path}")  # noqa: T201 (shown by pytest -s)
    assert counts.total() > 1000


@pytest.mark.parametrize("situation", ["none", "unknown", "score"])
@pytest.mark.timeout(LONGEST)
def test_schemathesis_finds_none_either_without_a_token_or_a_scope(world, tmp_path: Path, situation):
    token = {"none": "", "unknown": "driftline_x", "score": world.scorer}[situation]
    found = fuzzed(world, token, tmp_path, max(2, EXAMPLES // 10))
    assert found.code == 0, found.said
    statuses = Counter(each["response"]["status"] for each in found.requests)
    assert statuses[403 if situation == "score" else 401] > 100
