"""Skill, compared with the kappa statistics by their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.skill import Losses, skill, skills
from flows.core.models.snapshots import Sealer

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=80)


@given(labels)
def test_of_error_rates_against_the_last_label_it_is_kappa_temporal(rows):
    answers, truths = (np.array(column) for column in zip(*rows, strict=True))
    last = np.concatenate([[0], truths[:-1]])
    accuracy, of_no_change = (answers == truths).mean(), (last == truths).mean()
    found = skill((answers != truths).mean(), (last != truths).mean())
    if of_no_change == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx((accuracy - of_no_change) / (1 - of_no_change))


@given(labels)
def test_of_error_rates_against_the_majority_it_is_kappa_m(rows):
    answers, truths = (np.array(column) for column in zip(*rows, strict=True))
    majority = np.bincount(truths).argmax()
    accuracy, of_majority = (answers == truths).mean(), (truths == majority).mean()
    found = skill((answers != truths).mean(), (truths != majority).mean())
    if of_majority == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx((accuracy - of_majority) / (1 - of_majority))


def test_of_absolute_errors_it_is_what_a_regression_saves_of_no_changes():
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.normal(size=2000))
    no_change = np.abs(np.diff(walk)).mean()
    drifting = np.abs(np.diff(walk) - 0.5).mean()
    assert skill(no_change, no_change) == 0
    assert skill(no_change / 2, no_change) == 0.5
    assert skill(drifting, no_change) < 0


@pytest.mark.parametrize(
    ("loss", "baseline"), [(0.0, 0.0), (0.3, 0.0), (math.nan, math.nan), (0.3, math.nan)]
)
def test_where_the_baseline_leaves_nothing_to_save_or_nothing_is_known_it_is_no_number(loss, baseline):
    assert math.isnan(skill(loss, baseline))


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=60))
def test_each_predictors_mean_and_fading_mean_are_those_of_its_own_losses(rows):
    names = ("model", "majority", "no-change")
    losses = Losses(names, alpha=0.9)
    losses.update_many(list(zip(*rows, strict=True)))
    assert list(losses.means().values()) == pytest.approx(np.mean(rows, axis=0).tolist())
    weights = 0.9 ** np.arange(len(rows))[::-1]
    fading = np.average(rows, axis=0, weights=weights).tolist()
    assert list(losses.fading().values()) == pytest.approx(fading, rel=1e-9, abs=1e-12)
    assert set(skills(losses.means(), "model")) == {"majority", "no-change"}


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(0, 60))
def test_the_division_of_labels_into_blocks_changes_no_digit(column, cut):
    whole, split = Losses(("model",), alpha=0.999), Losses(("model",), alpha=0.999)
    whole.update_many([column])
    split.update_many([column[:cut]])
    split.update_many([column[cut:]])
    assert repr((split.means(), split.fading())) == repr((whole.means(), whole.fading()))


def test_the_fading_mean_forgets_after_the_labels_that_its_alpha_says():
    losses = Losses(("model",), alpha=0.99)
    losses.update_many([[float(number < 1000) for number in range(2000)]])
    assert losses.fading()["model"] == pytest.approx(0.99**1000, rel=1e-3)
    losses.update_many([[1.0]])
    assert losses.fading()["model"] == pytest.approx(0.01, rel=0.01)


def test_before_the_first_label_every_mean_is_no_number():
    losses = Losses(("model",), alpha=0.9)
    assert math.isnan(losses.means()["model"])
    assert math.isnan(losses.fading()["model"])


def test_what_is_counted_survives_a_snapshot():
    sealer, losses = Sealer(b"s" * 32), Losses(("model", "no-change"), alpha=0.9)
    losses.update_many([[0.25], [0.5]])
    kept = sealer.open_state(sealer.seal_state(losses))
    assert (kept.means(), kept.fading()) == (losses.means(), losses.fading())
