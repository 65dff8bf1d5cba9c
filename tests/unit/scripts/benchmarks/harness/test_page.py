"""Tables of a page, generated from stored results."""

from scripts.benchmarks.harness.figures import CPU, Document, Figure
from scripts.benchmarks.harness.page import generate

FIGURE = Figure("predict, River's scorer", "bare loop", CPU, [60.0, 50.0], [100.0, 100.0])
DOCUMENT = Document({}, {"peers": [FIGURE]})


def marked(name: str, text: str = "") -> str:
    return f"<!-- bench: {name} -->\n{text}<!-- end of bench -->"


def test_a_marked_part_becomes_the_table_of_its_benchmark_and_the_prose_stays():
    page = generate("before\n\n" + marked("peers", "old\n") + "\n\nafter\n", DOCUMENT)
    assert page == (
        "before\n\n<!-- bench: peers -->\n"
        "| work | baseline | unit | baseline's | Driftline | ratio |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| predict, River's scorer | bare loop | events/s of CPU time | 100 | 55.0 | 0.55 (0.50 to 0.60) |\n"
        "<!-- end of bench -->\n\nafter\n"
    )


def test_generating_twice_changes_nothing():
    page = generate(marked("targets"), DOCUMENT)
    assert generate(page, DOCUMENT) == page
    assert "| predict, River's scorer | 0.55 | at least 0.55 x bare loop | yes |" in page


def test_a_part_without_results_says_how_to_measure_it():
    page = generate(marked("latency"), DOCUMENT)
    assert "Not measured in this run; `scripts/bench latency` measures it." in page
