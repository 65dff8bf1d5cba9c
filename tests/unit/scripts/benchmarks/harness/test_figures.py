"""Figures are stored as JSON and read again."""

import doctest

import orjson
import pytest

from scripts.benchmarks.harness import figures
from scripts.benchmarks.harness.figures import CPU, Figure, Key, load, save

PREDICT = Figure("predict", "bare loop", CPU, [10.0, 30.0, 20.0], [40.0, 40.0, 40.0])
MACHINE = {"machine": {"cores": 2}, "seconds": 61}
AT_REST = Figure("at rest", "", "MB", [400.0], higher_is_better=False)


def test_the_examples_hold():
    assert doctest.testmod(figures).failed == 0


def test_the_result_is_the_median_of_the_ratios_of_the_rounds():
    assert Figure("predict", "bare loop", CPU, [10, 100, 10], [10, 50, 40]).result == 1


def test_what_is_stored_is_read_again(tmp_path):
    file = tmp_path / "results.json"
    written = save(MACHINE, {"peers": [PREDICT], "at-rest": [AT_REST]}, file)
    assert load(file) == written
    assert written.benchmarks == {"peers": [PREDICT], "at-rest": [AT_REST]}
    assert written.figures() == {PREDICT.key: PREDICT, Key("at rest", "", "MB"): AT_REST}
    assert written.circumstances == MACHINE


def test_a_stored_figure_has_its_result_for_other_readers(tmp_path):
    save(MACHINE, {"peers": [PREDICT]}, tmp_path / "results.json")
    [row] = orjson.loads((tmp_path / "results.json").read_bytes())["benchmarks"]["peers"]
    assert row["result"] == 0.5


def test_results_with_another_schema_are_refused(tmp_path):
    file = tmp_path / "results.json"
    file.write_bytes(orjson.dumps({"of": {}, "figures": []}))
    with pytest.raises(SystemExit, match="must have the schema 'driftline-bench/1', got None"):
        load(file)
