"""The performance page has the figures of the stored results."""

from scripts.benchmarks.harness import page
from scripts.benchmarks.harness.figures import load

# scripts/bench page makes both
DOCUMENT = load(page.RESULTS)


def test_the_tables_are_those_that_the_stored_results_generate() -> None:
    text = page.PAGE.read_text()
    assert page.generate(text, DOCUMENT) == text


def test_the_page_shows_every_stored_figure() -> None:
    text = page.PAGE.read_text()
    assert [name for name in DOCUMENT.benchmarks if f"<!-- bench: {name} -->" not in text] == []
