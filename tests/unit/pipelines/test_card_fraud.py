"""The bins of card_fraud; its features and its model are tested with Feast."""

from typing import Any

import pytest

from flows.pipelines.card_features import WINDOWS
from flows.pipelines.card_fraud import binned, bins, pipeline


def given(amount: float, frauds: int = 0, transactions: int = 4, mean: float | None = 50.0) -> dict[str, Any]:
    found: dict[str, Any] = {"amount": amount, "calendar__night": 0, "calendar__weekend": 1}
    for window in WINDOWS:
        found |= {
            f"customer_transactions__count_{window}": 2,
            f"customer_transactions__mean_amount_{window}": mean,
            f"terminal_transactions__transactions_{window}": transactions,
            f"terminal_frauds__frauds_{window}": frauds,
            f"terminal_risk__risk_{window}": frauds / transactions if transactions else 0.0,
        }
    return found


@pytest.mark.parametrize("mean", [None, 0.0, 50.0])
@pytest.mark.parametrize(("frauds", "transactions"), [(0, 0), (3, 3), (90, 200)])
@pytest.mark.parametrize("amount", [0.0, 9.99, 1e6])
def test_a_transaction_is_in_one_bin_of_each_kind(
    amount: float, frauds: int, transactions: int, mean: float | None
) -> None:
    found = bins(given(amount, frauds, transactions, mean))
    assert set(found.values()) == {1.0}
    assert {name.rpartition(" ")[0] for name in found} == {
        name.rpartition(" ")[0] for name in bins(given(20.0))
    }


def test_a_terminal_with_frauds_only_is_in_another_bin_than_one_with_as_many_among_good_ones() -> None:
    compromised, before = (set(bins(given(20.0, 3, transactions))) for transactions in (3, 12))
    assert {name for name in compromised - before if name.startswith("terminal's week ")}


def test_the_bins_learn_a_pair_that_no_sum_of_both_tells() -> None:
    estimator = binned()
    cases = [(20.0, 0, False), (500.0, 0, True), (20.0, 3, True), (500.0, 3, False)]
    for _ in range(200):
        for amount, frauds, fraud in cases:
            mean = 10.0 if frauds else 400.0
            estimator.learn_one(given(amount, frauds, mean=mean), fraud)
    for amount, frauds, fraud in cases:
        score = estimator.predict_proba_one(given(amount, frauds, mean=10.0 if frauds else 400.0))[True]
        assert (score > 0.5) == fraud


def test_the_search_has_the_model_itself_and_one_with_bins() -> None:
    assert pipeline.retrain.search is not None
    assert {each.family for each in pipeline.retrain.search.configurations()} == {"linear", "binned"}
