"""Snapshots: signed ones are restored, all others are refused."""

import base64
import hmac
import pickle
import pickletools
import random
from collections.abc import Callable
from contextlib import suppress
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
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

from flows.core.models.model import Lineup, Model, ModelMessage
from flows.core.models.signing_keys import SigningKey
from flows.core.models.snapshots import SIGNATURE, Sealer
from flows.core.stream.broker import Record
from flows.errors import SnapshotError
from flows.pipelines import flight_delays

SECRET = b"a secret of thirty-two bytes, ok"
SEALER = Sealer(SECRET, [flight_delays.model(), linear_model.LogisticRegression()])
LINEAGE = {"parent": "v1", "trained_on": 512, "plan": "abc"}


def message(estimator: Any = None, role: str = "champion") -> ModelMessage:
    model = Model("v2", estimator or linear_model.LogisticRegression(), learned=17)
    return ModelMessage("flight_delays", role, 1_357_035_300_123, model, LINEAGE, 41)


def signed(body: bytes) -> bytes:
    """A state with a good signature, made without the sealer."""
    return b"driftline-state/7\n" + SigningKey(SECRET, "flow states").sign(body) + body


def announced(**changes: Any) -> tuple[bytes, bytes]:
    """A model message with a good signature; a field of `...` is left out."""
    raw = {**orjson.loads(SEALER.seal(message())[0]), **changes}
    body = orjson.dumps({name: value for name, value in raw.items() if value is not ...})
    return body, SigningKey(SECRET, "model messages").sign(body)


def calling(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls the function at that name, written opcode by opcode."""
    call = pickle.dumps(arguments, protocol=4)[2:-1]
    return b"\x80\x04" + text(module) + text(name) + b"\x93" + call + b"R."


def text(name: str) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name.encode()


def test_a_model_message_comes_back_as_it_was_sealed():
    back = SEALER.open(*SEALER.seal(message()))
    assert back._replace(model=None) == message()._replace(model=None)
    assert (back.model.version, back.model.learned) == ("v2", 17)


def test_the_share_of_a_canary_comes_back_and_is_left_out_of_other_messages():
    body, signature = SEALER.seal(message(role="challenger")._replace(share=0.25))
    assert SEALER.open(body, signature).share == 0.25
    assert SEALER.announced(Record("p.models", 0, 0, 0, None, body, ((SIGNATURE, signature),))).share == 0.25
    assert b"share" not in SEALER.seal(message())[0]


def test_a_record_of_the_models_topic_says_what_it_holds_and_is_read_back():
    out = SEALER.record("p.models", message(role="challenger"))
    headers = dict(out.headers)
    assert (out.key, out.timestamp) == (b"v2", 1_357_035_300_123)
    assert headers["id"] == b"v2:challenger:41:" + headers[SIGNATURE].hex()[:8].encode()
    assert headers["role"] == b"challenger"
    back = SEALER.read(Record("p.models", 0, 0, 0, out.key, out.value, out.headers))
    assert (back.role, back.model.version) == ("challenger", "v2")


def test_a_snapshot_is_readable_json_but_for_the_estimator():
    body, _ = SEALER.seal(message())
    shown = orjson.loads(body)
    assert shown.pop("estimator")
    assert shown == {
        "format": "driftline-model/2",
        "pipeline": "flight_delays",
        "sequence": 41,
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
    with pytest.raises(SnapshotError, match=r"signed|must be of format driftline-state/7"):
        SEALER.open_state(bytes(altered))


@pytest.mark.parametrize("stored", [b"", b"short", b"\x00" * 32])
def test_a_stored_state_without_a_signature_is_refused(stored):
    with pytest.raises(SnapshotError, match="signed"):
        SEALER.open_state(stored)


def test_a_snapshot_of_another_project_is_refused():
    other = Sealer(b"the secret of another project...", [linear_model.LogisticRegression()])
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
    """Pickles to a call of `os.mkdir`."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self.file),)


def test_a_pickle_that_calls_the_system_is_not_unpickled_even_when_it_is_signed(tmp_path):
    file = tmp_path / "mark"
    with pytest.raises(SnapshotError, match="allow-list"):
        SEALER.open_state(SEALER.seal_state(Marks(file)))
    with pytest.raises(SnapshotError, match="allow-list"):
        SEALER.open(*SEALER.seal(message(SimpleNamespace(marks=Marks(file)))))
    assert not file.exists()
    pickle.loads(pickle.dumps(Marks(file)))  # noqa: S301 (shows that it would have run)
    assert file.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("river.no_such_module", "f"),
        ("river.stats", "NoSuchStatistic"),
        ("flows.core.learning.learner", "no_such_name"),
        ("flows.runtime.supervisor", "Supervisor"),
    ],
)
def test_a_state_refers_to_what_this_version_and_this_declaration_are_made_of(module, name):
    with pytest.raises(SnapshotError, match="written by another version"):
        SEALER.open_state(signed(calling(module, name)))


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
    sealer = Sealer(SECRET, [make()])
    back = sealer.open(*sealer.seal(ModelMessage("p", "champion", 1_357_035_300_000, model, {}, 1))).model
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
    sealer = Sealer(SECRET, [model.estimator])
    back = sealer.open(*sealer.seal(ModelMessage("p", "champion", 1_357_035_300_000, model, lineage, 1)))
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
    body, _ = Sealer(SECRET, [linear_model.LogisticRegression()]).seal(message())
    estimator = pickle.loads(base64.b64decode(orjson.loads(body)["estimator"]))  # noqa: S301 (just made)
    assert isinstance(estimator, linear_model.LogisticRegression)


def test_a_flow_s_state_is_no_model_and_a_model_is_no_flow_s_state():
    state = SEALER.seal_state(linear_model.LogisticRegression())
    with pytest.raises(SnapshotError, match="for this purpose"):
        SEALER.open(state[32:], state[:32])
    body, signature = SEALER.seal(message())
    with pytest.raises(SnapshotError, match="for this purpose"):
        SEALER.open_state(signature + body)


def test_a_state_that_holds_a_learner_is_not_found_by_a_model():
    estimator = base64.b64encode(calling("flows.core.learning.learner", "Learner")).decode()
    with pytest.raises(SnapshotError, match="allow-list"):
        SEALER.open(*announced(estimator=estimator))


@pytest.mark.parametrize(
    "changes",
    [
        {"pipeline": ...},
        {"pipeline": 7},
        {"sequence": ...},
        {"sequence": "1"},
        {"sequence": True},
        {"sequence": 1.5},
        {"version": None},
        {"role": "king"},
        {"role": ["champion"]},
        {"time": 5},
        {"time": "yesterday"},
        {"time": "9999-12-31T23:59:59Z"},
        {"task": "sorting"},
        {"task": {}},
        {"learned": "17"},
        {"lineage": []},
        {"estimator": ...},
        {"estimator": 7},
        {"estimator": "not base64!"},
        {"estimator": ""},
        {"estimator": "gASV"},
        {"artifact": None},
        {"artifact": {"sha256": "../../../etc/passwd", "size": 3}},
        {"artifact": {"sha256": "ab" * 31, "size": 3}},
        {"artifact": {"sha256": "ab" * 32}},
        {"artifact": {"sha256": "ab" * 32, "size": 3}},  # there is no store
    ],
    ids=str,
)
def test_a_signed_message_that_is_not_one_of_a_model_is_a_snapshot_error(changes):
    with pytest.raises(SnapshotError):
        SEALER.open(*announced(**changes))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b'"text"', b"\xff"])
def test_a_signed_message_that_is_no_object_is_a_snapshot_error(body):
    with pytest.raises(SnapshotError):
        SEALER.open(body, SigningKey(SECRET, "model messages").sign(body))


PICKLE = pickle.dumps(flight_delays.model(), protocol=5)


@st.composite
def mutated(draw: Callable[..., Any]) -> bytes:
    """A model's pickle with some bytes replaced, removed or repeated."""
    content = bytearray(PICKLE)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(content) - 1))
        kind = draw(st.sampled_from(["replace", "cut", "repeat"]))
        if kind == "replace":
            content[position] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[position : position + draw(st.integers(1, 40))]
        else:
            content[position:position] = content[position : position + draw(st.integers(1, 40))]
        if not content:
            break
    return bytes(content)


def takes_gigabytes(content: bytes) -> bool:
    """A memo index of a billion makes pickle allocate a list of that size."""
    with suppress(ValueError):
        return any("PUT" in code.name and arg > 100_000 for code, arg, _ in pickletools.genops(content))
    return False


@settings(deadline=None)
@given(mutated())
def test_any_mutation_of_a_signed_model_is_read_or_is_a_snapshot_error(content):
    assume(not takes_gigabytes(content))
    with suppress(SnapshotError):
        SEALER.open(*announced(estimator=base64.b64encode(content).decode()))


@given(st.binary(max_size=200))
def test_any_signed_bytes_are_a_state_or_a_snapshot_error(body):
    with suppress(SnapshotError):
        SEALER.open_state(signed(body))


class Panic(BaseException):
    """As Rust's, which is no Exception."""


def test_a_panic_of_what_is_unpickled_is_a_snapshot_error(monkeypatch):
    def panics(*_: Any) -> None:
        raise Panic("index out of bounds")

    state = SEALER.seal_state(linear_model.LogisticRegression())
    monkeypatch.setattr(linear_model.LogisticRegression, "__setstate__", panics, raising=False)
    with pytest.raises(SnapshotError, match="Panic: index out of bounds"):
        SEALER.open_state(state)


SIGNED = {
    "by the secret itself": lambda body, _: hmac.digest(SECRET, body, "sha256"),
    "for its purpose": lambda body, purpose: SigningKey(SECRET, purpose).sign(body),
}


@pytest.mark.parametrize("sign", SIGNED.values(), ids=SIGNED)
def test_what_an_older_version_wrote_is_refused_in_one_line_that_says_what_to_do(sign):
    old = b'{"pipeline":"p","version":"v1","role":"champion","estimator":"gASV"}'
    with pytest.raises(SnapshotError) as refused:
        SEALER.open(old, sign(old, "model messages"))
    assert str(refused.value) == (
        "a model message must be of format driftline-model/2, got none (stored before Driftline 0.2.0); it "
        "was not read, and the learner's next snapshot takes its place"
    )
    state = pickle.dumps({"learned": 3})
    with pytest.raises(SnapshotError) as refused:
        SEALER.open_state(sign(state, "flow states") + state)
    assert str(refused.value) == (
        "the state of a flow must be of format driftline-state/7, got none (stored before Driftline 0.2.0); "
        "stop the flows, remove the folder `state` of the state directory, and start them again: the state "
        "is made from the topics"
    )


def test_what_a_future_version_wrote_is_refused_by_its_version():
    future = "must be of format driftline-model/2, got 'driftline-model/3'; it was not read"
    with pytest.raises(SnapshotError, match=future):
        SEALER.open(*announced(format="driftline-model/3"))
    with pytest.raises(SnapshotError, match="must be of format driftline-state/7, got 'driftline-state/8'"):
        SEALER.open_state(b"driftline-state/8\n" + bytes(32) + b"of another kind")
