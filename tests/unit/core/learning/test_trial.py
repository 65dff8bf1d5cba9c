"""The evidence of a trial, on losses of models that are equal, better or worse."""

from random import Random

import pytest

from flows.core.learning.trial import Lead

ENOUGH = 100.0


def labels_until(of: Lead, seed: int, gain: float, most: int) -> int:
    """The labels until the evidence is enough; the losses differ by `gain` on average."""
    rng = Random(seed)
    for label in range(1, most + 1):
        of.update(rng.expovariate(1) + gain, rng.expovariate(1))
        if of.value >= ENOUGH:
            return label
    return most


def test_of_equal_models_the_evidence_is_enough_no_sooner_on_average_than_declared() -> None:
    runs = [labels_until(Lead(), seed, 0.0, 20_000) for seed in range(60)]
    assert sum(runs) / len(runs) >= ENOUGH


def test_a_model_that_is_better_leads_soon_and_one_that_is_worse_does_not() -> None:
    better = [labels_until(Lead(), seed, 1.0, 2_000) for seed in range(40)]
    worse = [labels_until(Lead(), seed, -1.0, 2_000) for seed in range(40)]
    assert sum(better) / len(better) < 60
    assert worse == [2_000] * 40


def test_a_model_that_was_worse_for_long_and_is_better_now_leads_as_soon() -> None:
    lead = Lead()
    assert labels_until(lead, 1, -1.0, 1_000) == 1_000
    assert labels_until(lead, 2, 1.0, 200) < 60


@pytest.mark.parametrize("loss", [1e150, float("inf")])
def test_a_label_with_an_extreme_loss_decides_nothing(loss: float) -> None:
    lead = Lead()
    for _ in range(3):
        lead.update(0.5, 0.5)
    lead.update(loss, 0.5)
    assert lead.value == 1.5
    lead.update(0.5, 0.5)
    assert lead.value == 1.5
