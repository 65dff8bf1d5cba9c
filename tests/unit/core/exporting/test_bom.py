"""The bill of materials is a valid CycloneDX document, and says what the facts say."""

from typing import Any

import orjson
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from made_facts import LINEAGE, assessed, facts
from signals import CONCEPT_ALARM

from flows.core.exporting.bom import bill_of_materials
from flows.core.exporting.facts import ModelFacts

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
NOW = 1_764_000_000_000
CASES = {
    "never served": facts(),
    "served": facts(measured=assessed(400), signals=(CONCEPT_ALARM,)),
    "few labels": facts(measured=assessed(20)),
    "no code, no parent, no purpose": facts(purpose="", lineage=LINEAGE._replace(code=None, parent=None)),
    "anomaly": facts(task="anomaly"),
}


def document(of: ModelFacts) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(bill_of_materials(of, NOW))
    return made


@pytest.mark.parametrize("case", CASES)
def test_the_document_is_valid_by_the_official_schema(case: str) -> None:
    assert VALIDATOR.validate_str(bill_of_materials(CASES[case], NOW).decode()) is None


def test_the_validator_refuses_what_is_not_in_the_schema() -> None:
    broken = {**document(facts()), "colour": "red"}
    assert VALIDATOR.validate_str(orjson.dumps(broken).decode()) is not None


@settings(deadline=None, max_examples=20)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_of_a_declaration_leaves_it_valid(purpose: str, cause: str) -> None:
    made = facts(purpose=purpose, lineage=LINEAGE._replace(cause=cause))
    assert VALIDATOR.validate_str(bill_of_materials(made, NOW).decode()) is None


def test_the_model_has_its_hash_its_parent_and_its_commit() -> None:
    model = document(facts())["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == (
        "machine-learning-model",
        "flight_delays",
        "v3",
    )
    assert model["hashes"] == [{"alg": "SHA-256", "content": LINEAGE.snapshot.sha256}]
    assert model["pedigree"]["ancestors"][0]["version"] == "v1"
    assert model["pedigree"]["commits"] == [{"uid": "0123456789abcdef0123456789abcdef01234567"}]


def test_the_card_has_the_metrics_by_slice() -> None:
    card = document(facts(measured=assessed(400)))["metadata"]["component"]["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "ROCAUC", "value": "0.75"} in metrics
    assert {"type": "ROCAUC (majority)", "value": "0.5"} in metrics
    assert {"type": "error rate", "value": "0.5", "slice": "origin = EWR"} in metrics
    assert card["considerations"]["fairnessAssessments"][0]["groupAtRisk"] == "the groups of origin"


def test_the_model_depends_on_every_library_and_data_set() -> None:
    made = document(facts())
    refs = [each["bom-ref"] for each in made["components"]]
    assert made["dependencies"] == [
        {"ref": made["metadata"]["component"]["bom-ref"], "dependsOn": refs},
    ]
    assert {"pkg:pypi/river@0.26.1", "data:flight_labels/0"} <= set(refs)
    assert len(set(refs)) == len(refs)


def test_the_serial_number_is_that_of_the_snapshot_and_the_time() -> None:
    first, same = bill_of_materials(facts(), NOW), bill_of_materials(facts(), NOW)
    later = bill_of_materials(facts(), NOW + 1)
    assert first == same
    assert orjson.loads(first)["serialNumber"] != orjson.loads(later)["serialNumber"]
