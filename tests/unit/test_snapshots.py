"""Snapshots: what is not ours is not read, what is ours comes back equal."""

import base64
import hmac
import pickle
import random
from hashlib import sha256
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import (
    anomaly,
    compose,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    stats,
    tree,
)

from flows.core.broker import Record
from flows.core.models import Lineup, Model, ModelMessage
from flows.core.snapshots import SIGNATURE, Sealer
from flows.errors import SnapshotError
from flows.pipelines import flight_delays

PIPELINES = ["flows.pipelines.flight_delays"]
SECRET = b"a secret of thirty-two bytes, ok"
SEALER = Sealer(SECRET, PIPELINES)
LINEAGE = {"parent": "v1", "trained_on": 512, "plan": "abc"}


def message(estimator: Any = None, role: str = "champion") -> ModelMessage:
    model = Model("v2", estimator or linear_model.LogisticRegression(), learned=17)
    return ModelMessage("flight_delays", role, 1_357_035_300_123, model, LINEAGE)


def signed(body: bytes) -> bytes:
    """A state with a good signature, made without the sealer."""
    return hmac.new(SECRET, body, sha256).digest() + body


def calling(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls the function at that name, written opcode by opcode."""
    call = pickle.dumps(arguments, protocol=4)[2:-1]
    return b"\x80\x04" + text(module) + text(name) + b"\x93" + call + b"R."


def text(name: str) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name.encode()


def test_a_model_message_comes_back_as_it_was_sealed():
    back = SEALER.open(*SEALER.seal(message()))
    assert (back.pipeline, back.role, back.time, back.lineage) == (
        "flight_delays",
        "champion",
        1_357_035_300_123,
        LINEAGE,
    )
    assert (back.model.version, back.model.learned) == ("v2", 17)


def test_a_record_of_the_models_topic_says_what_it_holds_and_is_read_back():
    out = SEALER.record("p.models", message(role="challenger"), "challenger:drift_1")
    headers = dict(out.headers)
    assert (out.key, out.timestamp) == (b"v2", 1_357_035_300_123)
    assert (headers["id"], headers["role"]) == (b"challenger:drift_1", b"challenger")
    back = SEALER.read(Record("p.models", 0, 0, 0, out.key, out.value, out.headers))
    assert (back.role, back.model.version) == ("challenger", "v2")


def test_a_snapshot_is_readable_json_but_for_the_estimator():
    body, _ = SEALER.seal(message())
    shown = orjson.loads(body)
    assert shown.pop("estimator")
    assert shown == {
        "pipeline": "flight_delays",
        "version": "v2",
        "role": "champion",
        "time": "2013-01-01T10:15:00.123Z",
        "task": "binary",
        "learned": 17,
        "lineage": LINEAGE,
    }


BODY, GOOD_SIGNATURE = SEALER.seal(message())
STATE = SEALER.seal_state({"learned": [1, 2, 3]})


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_body_with_any_byte_altered_is_refused(position, change):
    altered = bytearray(BODY)
    altered[position] ^= change
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open(bytes(altered), GOOD_SIGNATURE)


@given(st.binary(max_size=64).filter(lambda s: s != GOOD_SIGNATURE))
def test_a_body_with_any_other_signature_is_refused(signature):
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open(BODY, signature)


@given(st.integers(0, len(STATE) - 1), st.integers(1, 255))
def test_a_stored_state_with_any_byte_altered_is_refused(position, change):
    altered = bytearray(STATE)
    altered[position] ^= change
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open_state(bytes(altered))


@pytest.mark.parametrize("stored", [b"", b"short", b"\x00" * 32])
def test_a_stored_state_without_a_signature_is_refused(stored):
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open_state(stored)


def test_a_snapshot_of_another_project_is_refused():
    other = Sealer(b"the secret of another project...", PIPELINES)
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open(*other.seal(message()))
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open_state(other.seal_state([]))


def test_a_challenger_cannot_be_made_champion_by_altering_its_role():
    body, signature = SEALER.seal(message(role="challenger"))
    promoted = body.replace(b'"role":"challenger"', b'"role":"champion"')
    assert promoted != body
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open(promoted, signature)


def test_a_record_without_signature_or_value_is_refused():
    for value, headers in ((BODY, ()), (None, ()), (None, ((SIGNATURE, GOOD_SIGNATURE),))):
        with pytest.raises(SnapshotError, match="signed"):
            SEALER.read(Record("p.models", 0, 0, 0, b"v2", value, headers))


class Marks:
    """Pickles to a call of `os.system`."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {self.file}",)


def test_a_pickle_that_runs_a_command_is_not_unpickled_even_when_it_is_signed(tmp_path):
    file = tmp_path / "mark"
    with pytest.raises(SnapshotError, match="which models are not made of"):
        SEALER.open_state(SEALER.seal_state(Marks(file)))
    with pytest.raises(SnapshotError, match="which models are not made of"):
        SEALER.open(*SEALER.seal(message(SimpleNamespace(marks=Marks(file)))))
    assert not file.exists()
    pickle.loads(pickle.dumps(Marks(file)))  # noqa: S301 (shows that it would have run)
    assert file.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "__import__"),
        ("builtins", "open"),
        ("builtins", "type"),
        ("builtins", "object.__subclasses__"),
        ("builtins", "dict.fromkeys"),
        ("subprocess", "Popen"),
        ("importlib", "import_module"),
        ("pickle", "loads"),
        ("collections", "_sys.modules"),
        ("collections", "namedtuple"),
        ("random", "_os.system"),
        ("random", "_os"),
        ("functools", "reduce"),
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy", "fromfile"),
        ("river.stream.cache", "Cache"),
        ("river.stream.iter_csv", "iter_csv"),
        ("river.datasets.base", "RemoteDataset"),
        ("river.checks.common", "pickle"),
        ("river.preprocessing", "StandardScaler"),  # it is defined in river.preprocessing.scale
        ("river.linear_model.log_reg", "optim.base.abc"),
        ("flows.supervisor", "subprocess.Popen"),
        ("flows.supervisor", "Supervisor"),
        ("flows.wiring", "os.system"),
        ("flows.core.snapshots", "Sealer"),
        ("flows.core.snapshots", "pickle.loads"),
        ("flows.backtest", "Backtest"),
        ("flows.pipelines.flights_data", "read_csv"),  # of the package, but no pipeline of the project
        ("flows.pipelines.flight_delays", "log1p"),  # the pipeline imports it, but did not define it
        ("flows.pipelines.flight_delays", "prepare.__globals__"),
        ("flows.pipelines.flight_delays", "prepare.__class__"),
        ("tests", "anything"),
    ],
)
def test_only_what_models_are_made_of_is_found(module, name):
    with pytest.raises(SnapshotError, match="which models are not made of"):
        SEALER.open_state(signed(calling(module, name)))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("river.no_such_module", "f"),
        ("river.stats", "NoSuchStatistic"),
        ("flows.core.learner", "no_such_name"),
        ("flows.pipelines.flight_delays", "prepare.no_such_name"),
    ],
)
def test_what_another_version_of_a_model_was_made_of_is_told_as_such(module, name):
    with pytest.raises(SnapshotError, match="written by another version"):
        SEALER.open_state(signed(calling(module, name)))


def test_a_project_finds_no_functions_of_a_pipeline_that_is_not_its_own():
    with pytest.raises(SnapshotError, match="which models are not made of"):
        Sealer(SECRET).open_state(signed(calling("flows.pipelines.flight_delays", "model")))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (linear_model.LogisticRegression, "__init__"),
        (linear_model.LogisticRegression, "__subclasses__"),
        (linear_model.LogisticRegression(), "__class__"),
        (linear_model.LogisticRegression(), "__reduce_ex__"),
        (linear_model.LogisticRegression(), "__dict__"),
        ({}, "get"),
        (random.Random(), "seed"),
        (flight_delays.prepare, "__globals__"),
        (flight_delays.prepare, "__call__"),
    ],
)
def test_getattr_gives_bound_methods_of_models_and_nothing_else(owner, name):
    with pytest.raises(SnapshotError, match="which models are not made of"):
        SEALER.open_state(signed(calling("builtins", "getattr", owner, name)))


def test_a_signed_snapshot_that_is_damaged_is_a_snapshot_error():
    for body in (b"", b"\x80\x04", b"garbage", pickle.dumps([1])[:-1]):
        with pytest.raises(SnapshotError, match="cannot be read"):
            SEALER.open_state(signed(body))


def flight(rng: random.Random) -> dict[str, Any]:
    delays = {name: rng.choice([None, rng.gauss(10, 30)]) for name in flight_delays._DELAYS}
    counts = {name: rng.randrange(40) for name in flight_delays._COUNTS}
    return {
        "carrier": rng.choice(["UA", "AA", "ZZ"]),
        "minute_of_day": rng.randrange(1440),
        **delays,
        **counts,
    }


def numbers(rng: random.Random) -> dict[str, Any]:
    return {"a": rng.gauss(0, 1), "b": rng.random(), "c": rng.choice([0.0, 1.0])}


def words(rng: random.Random) -> dict[str, Any]:
    return {"a": rng.gauss(0, 1), "town": rng.choice(["Rome", "Oslo", "Lima"])}


MODELS: dict[str, tuple[Any, Any]] = {
    "flight_delays": (flight_delays.model, flight),
    "adaptive random forest": (lambda: forest.ARFClassifier(n_models=3, seed=1), numbers),
    "Mondrian forest": (lambda: forest.AMFClassifier(n_estimators=3, seed=1), numbers),
    "Hoeffding tree": (lambda: tree.HoeffdingTreeClassifier(grace_period=20), numbers),
    "adaptive Hoeffding tree": (lambda: tree.HoeffdingAdaptiveTreeClassifier(20, seed=1), numbers),
    "naive Bayes": (naive_bayes.GaussianNB, numbers),
    "nearest neighbours": (neighbors.KNNClassifier, numbers),
    "leveraging bagging": (
        lambda: ensemble.LeveragingBaggingClassifier(linear_model.LogisticRegression(), 3, seed=1),
        numbers,
    ),
    "ADWIN bagging": (
        lambda: ensemble.ADWINBaggingClassifier(linear_model.LogisticRegression(), 3, seed=1),
        numbers,
    ),
    "random patches": (lambda: ensemble.SRPClassifier(n_models=3, seed=1), numbers),
    "robust scaler and Adam": (
        lambda: preprocessing.RobustScaler() | linear_model.LogisticRegression(optim.Adam(0.01)),
        numbers,
    ),
    "one-hot encoding beside a scaler": (
        lambda: (
            (compose.SelectType(str) | preprocessing.OneHotEncoder())
            + (compose.SelectType(float) | preprocessing.StandardScaler())
            | linear_model.LogisticRegression()
        ),
        words,
    ),
    "target aggregates": (
        lambda: feature_extraction.TargetAgg("town", stats.BayesianMean(0.5, 10)) | naive_bayes.GaussianNB(),
        words,
    ),
    "anomaly filter": (
        lambda: (
            anomaly.QuantileFilter(anomaly.HalfSpaceTrees(seed=1), q=0.95) | linear_model.LogisticRegression()
        ),
        numbers,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_river_model_comes_back_with_equal_scores_and_learns_on_alike(name):
    make, row = MODELS[name]
    rng = random.Random(7)
    model = Model("v1", make())
    for _ in range(150):
        assert model.learn(row(rng), rng.random() < 0.4) is None
    back = SEALER.open(*SEALER.seal(ModelMessage("p", "champion", 1_357_035_300_000, model, {}))).model
    assert back.learned == 150
    for _ in range(60):
        x, truth = row(rng), rng.random() < 0.4
        assert back.score(dict(x)) == model.score(dict(x))
        model.learn(dict(x), truth)
        back.learn(dict(x), truth)


def test_a_model_that_is_poisoned_with_nan_can_still_be_sealed_and_told():
    model = Model("v1", preprocessing.StandardScaler() | linear_model.LogisticRegression())
    for value in (1.0, nan, 2.0):
        model.estimator.learn_one({"a": value}, True)  # past the model's own guard
    lineage = {"estimate": nan}
    back = SEALER.open(*SEALER.seal(ModelMessage("p", "champion", 1_357_035_300_000, model, lineage)))
    assert back.lineage == {"estimate": None}
    with pytest.raises(ArithmeticError, match="v1 gives nan"):
        back.model.score({"a": 1.0})


def test_the_predictors_models_come_back_from_a_stored_state():
    lineup = Lineup(Model("v1", flight_delays.model()))
    lineup.apply("challenger", Model("v2", flight_delays.model(), 9))
    back = SEALER.open_state(SEALER.seal_state(lineup))
    assert (back.champion.version, back.challengers["v2"].learned) == ("v1", 9)


@pytest.mark.parametrize(
    "metric",
    [metrics.ROCAUC() + metrics.LogLoss(), metrics.F1(), metrics.CohenKappa(), metrics.RollingROCAUC()],
    ids=lambda metric: type(metric).__name__,
)
def test_a_metric_comes_back_from_a_stored_state_and_counts_on(metric):
    rng = random.Random(3)
    rows = [(rng.random() < 0.5, rng.random()) for _ in range(200)]

    def feed(into: Any, part: list[tuple[bool, float]]) -> Any:
        for truth, score in part:
            into.update(truth, score > 0.5 if into.requires_labels else {True: score, False: 1 - score})
        return into.get()

    feed(metric, rows[:100])
    back = SEALER.open_state(SEALER.seal_state(metric))
    assert feed(back, rows[100:]) == feed(metric, rows[100:])


def test_the_estimator_in_a_message_is_a_plain_pickle_so_that_others_can_check_it():
    body, _ = SEALER.seal(message())
    estimator = pickle.loads(base64.b64decode(orjson.loads(body)["estimator"]))  # noqa: S301 (just made)
    assert isinstance(estimator, linear_model.LogisticRegression)
