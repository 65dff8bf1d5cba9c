"""The hot flows load River without SciPy, and others Feast without its servers, which load on first use."""

import subprocess
import sys

import pytest

LOADS = (
    "import sys; import flows.predict, flows.learn, flows.alert, flows.retrain, flows.runtime.runner; "
    "import flows.pipelines.flight_delays as _; "
)
HEAVY = ("scipy", "pandas", "pyarrow", "feast", "duckdb", "sqlalchemy")
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
    "reader of ARFF files": """
import io
from river import stream
rows = io.StringIO("@relation a\\n@attribute x numeric\\n@attribute y numeric\\n@data\\n1,2\\n")
assert list(stream.iter_arff(rows, target="y")) == [({"x": 1.0}, 2.0)]
""",
    "naive Bayes": """
from river import naive_bayes
model = naive_bayes.GaussianNB()
for value in (0.0, 0.1, 1.0, 1.1): model.learn_one({"x": value}, value > 0.5)
assert model.predict_one({"x": 1.05}) is True
""",
    "outer product of a covariance": """
import numpy as np
from river.utils.math import sherman_morrison
matrix = np.eye(2, order="F")
sherman_morrison(matrix, np.array([1.0, 0.0]), np.array([1.0, 0.0]))
assert matrix[0, 0] == 0.5, matrix
""",
    "the module itself": "import scipy.stats; assert scipy.stats.norm.cdf(0) == 0.5",
}


def run(program: str) -> str:
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def test_the_hot_flows_start_without_loading_it_or_a_data_frame() -> None:
    run(LOADS + f"assert not {set(HEAVY)} & {{name.partition('.')[0] for name in sys.modules}}")


def test_the_area_under_a_roc_curve_is_rivers_to_the_last_digit_and_needs_no_scipy() -> None:
    update = """
from random import Random
from river import metrics
draw, area = Random(1), metrics.ROCAUC()
for _ in range(1000):
    truth = draw.random() < 0.3
    area.update(truth, {True: draw.gauss(0.6 if truth else 0.4, 0.2)})
"""
    ours = LOADS + update + "print(area.get().hex(), 'scipy' in sys.modules)"
    rivers = "import sys; " + update + "print(area.get().hex(), 'scipy' not in sys.modules)"
    assert run(ours) == run(rivers)


def test_the_drift_detectors_compute_p_values_without_it() -> None:
    run("""
import sys
import flows.core.drift.monitor
from flows.core.drift.p_values import adjusted, chi_square_tail, kolmogorov_smirnov
adjusted([kolmogorov_smirnov(0.1, 100), kolmogorov_smirnov(0.3, 100), chi_square_tail(9.0, 3)])
assert "scipy.stats" not in sys.modules and "scipy.special" not in sys.modules
""")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_is_there_when_it_is_used(use: str) -> None:
    run(LOADS + use)


def test_feast_is_loaded_without_its_servers_and_its_sql_registry() -> None:
    unused = {"fastapi", "starlette", "sqlalchemy"}
    found = run(
        "import sys, flows.adapters.feast.quick_feast; "
        f"print({unused} & {{name.partition('.')[0] for name in sys.modules}})"
    )
    assert found == "set()\n"


def test_the_servers_of_feast_are_there_when_they_are_used() -> None:
    run("""
import flows.adapters.feast.quick_feast, feast
from feast.errors import FeatureViewNotFoundException
from feast.feature_store import SqlRegistry, feature_server
assert FeatureViewNotFoundException("view").http_status_code() == 404
assert feature_server.start_server.__code__.co_name == "start_server"
assert SqlRegistry.__name__ == "SqlRegistry"
""")
