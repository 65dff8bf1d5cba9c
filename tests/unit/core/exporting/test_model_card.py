"""The model card has every section, and its figures are those of the facts."""

import re

from made_facts import LINEAGE, assessed, facts
from signals import CONCEPT_ALARM

from flows.core.exporting.markdown import cell
from flows.core.exporting.model_card import model_card

SECTIONS = [
    "Purpose",
    "Data",
    "Features",
    "Metrics",
    "Slices",
    "Fairness",
    "Calibration",
    "Drift",
    "Limits",
    "Lineage",
]


def sections(card: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_card_has_every_section_also_without_metrics() -> None:
    card = model_card(facts())
    assert card.startswith("# flight_delays v3\n\nModel card of a champion.\n")
    found = sections(card)
    assert list(found) == SECTIONS
    assert "never served as champion" in found["Metrics"]
    assert "declares no slices" in found["Slices"]
    assert found["Drift"].strip() == "None."


def test_the_metrics_stand_beside_their_baselines() -> None:
    measured = assessed(400)
    rows = sections(model_card(facts(measured=measured)))["Metrics"].splitlines()
    for predictor in ("model", "majority", "no-change"):
        (row,) = [row for row in rows if row.startswith(f"| {predictor} |")][:1]
        assert row.endswith(f"{cell(measured['metrics'][predictor]['LogLoss'])} |")
    assert "All 400 labels:" in rows


def test_slices_and_fairness_are_those_of_the_assessment() -> None:
    measured = assessed(400)
    found = sections(model_card(facts(measured=measured)))
    assert "| EWR | 200 | 0.5 |" in found["Slices"]
    assert "| JFK | 200 | 0 |" in found["Slices"]
    fairness = measured["assessment"]["slices"]["origin"]["fairness"]
    for name in ("parity_ratio", "error_difference"):
        assert f"| {cell(fairness[name])} |" in found["Fairness"]


def test_the_calibration_has_the_bins_with_labels() -> None:
    found = sections(model_card(facts(measured=assessed(400))))["Calibration"]
    assert len(re.findall(r"^\| 0", found, re.MULTILINE)) == 2, "the scores are 0.15 and 0.85"


def test_drift_data_and_lineage_are_shown() -> None:
    found = sections(model_card(facts(signals=(CONCEPT_ALARM,))))
    assert "| concept | adwin | critical | firing | 0.2 | 0.35 | - |" in found["Drift"]
    assert "| flight_labels | 0 | 10 | 410 |" in found["Data"]
    assert LINEAGE.snapshot.sha256 in found["Lineage"]
    assert "| LogisticRegression: l2 | 0.0 |" in found["Lineage"]
    assert "| version of river | 0.26.1 |" in found["Lineage"]


def test_a_purpose_that_is_not_stated_says_how_to_state_it() -> None:
    assert "the docstring of the pipeline's module" in sections(model_card(facts(purpose="")))["Purpose"]


def test_text_of_records_is_no_markup() -> None:
    measured = assessed(400)
    measured["assessment"]["slices"]["origin"]["groups"][0]["value"] = "<script>|x|</script>"
    card = model_card(facts(measured=measured, purpose="see [me](https://example.org)"))
    assert "<script>" not in card
    assert "[me](" not in card
