"""The threshold of least cost, compared with the cost of every threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.costs import CostCurve, Costs
from flows.core.models.snapshots import Sealer

edges = st.integers(0, 20).map(lambda n: n / 20)
rows = st.lists(st.tuples(st.floats(0, 1) | edges, st.booleans()), min_size=1, max_size=80)
prices = st.floats(0.01, 100)


def curve(labels: list[tuple[float, bool]], bins: int = 20) -> CostCurve:
    taken = CostCurve(bins)
    taken.update_many([score for score, _ in labels], [truth for _, truth in labels])
    return taken


def cost(labels: list[tuple[float, bool]], costs: Costs, threshold: float) -> float:
    """The mean cost of a label by definition."""
    scores, truths = (np.array(column) for column in zip(*labels, strict=True))
    alarms = scores > threshold
    wrong = costs.false_positive * (alarms & ~truths) + costs.false_negative * (~alarms & truths)
    return float(wrong.mean())


@given(rows, prices, prices)
def test_every_edge_costs_what_its_labels_cost(labels, false_positive, false_negative):
    costs = Costs(false_positive, false_negative)
    found = curve(labels).threshold_costs(costs)
    assert [each.threshold for each in found] == [n / 20 for n in range(21)]
    for each in found:
        assert each.cost == pytest.approx(cost(labels, costs, each.threshold))


@given(rows, prices, prices)
def test_no_edge_costs_less_than_the_best_and_the_others_cost_what_they_cost(
    labels, false_positive, false_negative
):
    costs = Costs(false_positive, false_negative)
    summary = curve(labels).summary(costs)
    assert summary.best.cost == pytest.approx(min(cost(labels, costs, n / 20) for n in range(21)))
    assert summary.best.cost == pytest.approx(cost(labels, costs, summary.best.threshold))
    assert summary.half.threshold == 0.5
    assert summary.half.cost == pytest.approx(cost(labels, costs, 0.5))
    assert summary.calibrated.cost == pytest.approx(cost(labels, costs, summary.calibrated.threshold))
    assert abs(summary.calibrated.threshold - costs.threshold) <= 0.025 + 1e-12
    assert summary.never == pytest.approx(cost(labels, costs, 1))
    assert summary.always == pytest.approx(cost(labels, costs, -1))


@pytest.mark.parametrize("ratio", [1, 4, 20])
def test_for_a_calibrated_model_the_best_threshold_is_elkans(ratio):
    rng = np.random.default_rng(ratio)
    chances = rng.beta(1, 3, 100_000)
    truths = rng.random(100_000) < chances
    found = curve(list(zip(chances.tolist(), truths.tolist(), strict=True)), bins=100)
    costs = Costs(1, ratio)
    summary = found.summary(costs)
    assert summary.best.threshold == pytest.approx(costs.threshold, abs=0.05)
    assert summary.calibrated.cost <= summary.best.cost * 1.01
    assert summary.best.cost <= min(summary.never, summary.always)


def test_of_a_model_that_is_not_calibrated_the_best_threshold_is_elsewhere_and_saves():
    rng = np.random.default_rng(7)
    chances = rng.uniform(0, 1, 50_000)
    truths = rng.random(50_000) < chances
    timid = chances**3  # serves .125 where half are true
    costs = Costs(1, 1)
    summary = curve(list(zip(timid.tolist(), truths.tolist(), strict=True)), bins=100).summary(costs)
    assert summary.best.threshold == pytest.approx(0.125, abs=0.04)
    assert summary.best.cost < 0.95 * summary.calibrated.cost


def test_of_thresholds_that_cost_the_same_the_one_nearest_to_the_theoretical_is_the_best():
    labels = [(0.1, False)] * 5 + [(0.9, True)] * 5
    assert curve(labels).summary(Costs(1, 1)).best == (0.5, 0.0)
    assert curve(labels).summary(Costs(1, 3)).best == (0.25, 0.0)


@given(rows, rows)
def test_two_stretches_of_labels_add_up_to_both(first, second):
    costs = Costs(1, 3)
    assert (curve(first) + curve(second)).summary(costs) == curve(first + second).summary(costs)


def test_of_different_bins_there_is_no_sum():
    with pytest.raises(ValueError, match="broadcast"):
        curve([(0.5, True)], bins=10) + curve([(0.5, True)], bins=20)


def test_without_labels_there_is_nothing_to_price():
    assert CostCurve().threshold_costs(Costs(1, 1)) == []
    assert CostCurve().summary(Costs(1, 1)) is None


def test_what_is_counted_survives_a_snapshot():
    sealer, taken = Sealer(b"s" * 32), curve([(0.3, True), (0.8, False)])
    kept = sealer.open_state(sealer.seal_state(taken))
    assert kept.threshold_costs(Costs(1, 2)) == taken.threshold_costs(Costs(1, 2))
