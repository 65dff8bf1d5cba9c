"""What moved between two runs."""

import doctest

import pytest

from scripts.benchmarks.harness import report
from scripts.benchmarks.harness.figures import CPU, Document, Figure
from scripts.benchmarks.harness.report import changes, falls


def run(*figures: Figure) -> Document:
    return Document({}, {"peers": figures})


def ratio(value: float) -> Figure:
    return Figure("predict", "bare loop", CPU, [value], [1.0])


def seconds(value: float) -> Figure:
    return Figure("start", "", "s", [value], higher_is_better=False)


def test_the_examples_hold():
    assert doctest.testmod(report).failed == 0


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (ratio(1.0), ratio(0.89), "worse"),
        (ratio(1.0), ratio(0.91), ""),
        (ratio(1.0), ratio(1.2), "better"),
        (seconds(1.0), seconds(1.2), "worse"),
        (seconds(1.0), seconds(0.8), "better"),
        (seconds(0.0), seconds(1.0), ""),
    ],
)
def test_a_change_by_more_than_a_tenth_has_a_verdict(before, after, verdict):
    [change] = changes(run(before), run(after))
    assert change.verdict == verdict


def test_each_fall_is_one_line():
    [line] = falls(run(ratio(1.0), seconds(1.0)), run(ratio(0.5), seconds(1.0)))
    assert line == "predict (events/s of CPU time, against bare loop) fell from 1.00 to 0.50"


def test_a_figure_that_only_one_run_has_is_left_out():
    assert list(changes(run(ratio(1.0)), run(seconds(1.0)))) == []
