"""The page about the learning loop has the figures of the stored results."""

import orjson

from scripts.benchmarks.retraining.table import MEASURES, PAGE, RESULTS, generate

# scripts/bench retraining-page makes both


def test_the_tables_are_those_that_the_stored_results_generate() -> None:
    text = PAGE.read_text()
    assert generate(text, orjson.loads(RESULTS.read_bytes())) == text


def test_the_page_has_a_table_of_each_measure() -> None:
    text = PAGE.read_text()
    assert [name for name in MEASURES if f"<!-- retraining: {name} -->" not in text] == []
