"""The hot flows load River without `scipy.stats`, which is loaded on first use."""

import subprocess
import sys

import pytest

LOADS = "import sys; import flows.predict, flows.learn, flows.pipelines.flight_delays as _; "
USES = {
    "geometric mean": """
from river import metrics
mean = metrics.GeometricMean()
for truth, answer in [(0, 0), (0, 1), (1, 1), (1, 1)]: mean.update(truth, answer)
assert abs(mean.get() - 0.5 ** 0.5) < 1e-12, mean
""",
    "F distribution": """
from river.tree import stochastic_gradient_tree
assert abs(stochastic_gradient_tree.f_dist.cdf(1.0, 1, 1) - 0.5) < 1e-12
""",
    "normal distribution": """
from river.proba import gaussian
assert abs(gaussian.multivariate_normal(0, 1).cdf(0) - 0.5) < 1e-9
""",
    "Kolmogorov and Smirnov's test": """
from river import drift
detector = drift.KSWIN(seed=0)
found = False
for value in [0.0] * 200 + [1.0] * 200:
    detector.update(value)
    found = found or detector.drift_detected
assert found
""",
    "the module itself": "import scipy.stats; assert scipy.stats.norm.cdf(0) == 0.5",
}


def run(program: str) -> None:
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_the_hot_flows_start_without_loading_it() -> None:
    run(LOADS + "assert not {'scipy.stats', 'sqlalchemy'} & sys.modules.keys()")


def test_the_detector_of_feature_drift_loads_it_only_when_a_window_is_judged() -> None:
    run("import sys, flows.core.drift.features; assert 'scipy.stats' not in sys.modules")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_is_there_when_it_is_used(use: str) -> None:
    run(LOADS + use)
