"""The schemas in docs/schemas, and the AsyncAPI document generated from them."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from flows.core.stream.dead_letter import REASONS

DOCS = Path(__file__).parents[2] / "docs"
SCHEMAS = {file.stem: json.loads(file.read_text()) for file in sorted((DOCS / "schemas").glob("*.json"))}


@pytest.fixture
def document() -> str:
    from scripts.tools.asyncapi import text

    return text()


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one_of_json_schema_2020_12_and_says_what_it_is_of(name):
    schema = SCHEMAS[name]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema["title"]
    assert schema["description"]


def test_the_asyncapi_document_is_that_of_the_schemas(document):
    assert (DOCS / "asyncapi.json").read_text("utf-8") == document, "run scripts/asyncapi"


def test_every_reference_of_the_document_leads_somewhere_and_every_schema_is_used(document):
    whole = json.loads(document)
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', document))
    for reference in references:
        found = whole
        for part in reference.split("/"):
            found = found[part]
    assert {r.removeprefix("components/schemas/") for r in references if "schemas" in r} == set(SCHEMAS)


def test_the_reasons_of_dead_letters_are_those_of_the_code():
    assert SCHEMAS["dead-letter-headers"]["properties"]["reason"]["enum"] == list(REASONS)
