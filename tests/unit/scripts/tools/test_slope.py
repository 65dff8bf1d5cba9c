"""The slope estimator of the soak test, on series with a known slope."""

import numpy as np
import pytest

from scripts.tools.slope import slope


def series(growth: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ten hours of realistic memory: autocorrelated, with occasional short peaks."""
    rng, hours = np.random.default_rng(seed), np.linspace(0, 10, 2400)
    spikes = np.where(rng.random(2400) < 0.05, 100.0, 0.0)
    return hours, 300 + growth * hours + rng.normal(0, noise, 2400) + spikes


def test_a_growth_is_found_with_its_size_in_spite_of_noise_and_spikes():
    fit = slope(*series(growth=2.0, noise=1.0, seed=1))
    assert fit.low < 2.0 < fit.high
    assert fit.value == pytest.approx(2.0, abs=0.1)
    assert fit.verdict(1.5) == "grows"
    assert fit.verdict(3.0) == "slow"


def test_flat_memory_is_called_flat_about_as_often_as_the_interval_promises():
    verdicts = [slope(*series(growth=0.0, noise=1.0, seed=seed)).verdict(0.0) for seed in range(100)]
    assert verdicts.count("flat") >= 94  # two in a hundred would be called growing by chance


def test_memory_that_shrinks_is_flat():
    assert slope(*series(growth=-5.0, noise=1.0, seed=3)).verdict(0.0) == "flat"


def test_too_few_measurements_are_refused():
    with pytest.raises(ValueError, match="47 measurements are too few"):
        slope(range(47), range(47))
