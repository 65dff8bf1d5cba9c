"""The targets, compared with figures of a run."""

import pytest

from scripts.benchmarks.harness.figures import CPU, Figure, Key
from scripts.benchmarks.harness.targets import TARGETS, Bound, ValueBound, rows


@pytest.mark.parametrize(("ratio", "met"), [(0.54, "no"), (0.55, "yes")])
def test_a_ratio_is_compared_with_its_target(ratio, met):
    figure = Figure("predict, River's scorer", "bare loop", CPU, [ratio], [1.0])
    assert rows({figure.key: figure}) == [(figure.work, f"{ratio:.2f}", "at least 0.55 x bare loop", met)]


def test_a_value_without_a_baseline_is_compared_in_its_unit():
    figure = Figure("memory, all five flows, Kafka", "", "MB", [512.3], higher_is_better=False)
    assert rows({figure.key: figure}) == [(figure.work, "512", "at most 500 MB", "no")]


def test_our_own_value_can_be_bounded_beside_a_baseline():
    key = Key("start", "imports", "s")
    figure = Figure(*key, [1.4], [0.5], higher_is_better=False)
    assert ValueBound(key, "at most", 1.5).is_met(figure)
    assert not Bound(key, "at most", 1.5).is_met(figure)


def test_no_figure_has_two_targets():
    assert len({target.key for target in TARGETS}) == len(TARGETS)
