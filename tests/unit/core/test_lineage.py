"""The lineage of a version: written and read again, and the parameters of any estimator."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_facts import LINEAGE
from river import anomaly, compose, drift, ensemble, forest, linear_model, optim, preprocessing, tree

from flows.core.lineage import (
    CodeVersion,
    DataRange,
    Lineage,
    OffsetRange,
    SnapshotDigest,
    cause_of,
    differences,
    parameters_of,
)
from flows.core.stream.times import YEAR_2100
from flows.errors import ConfigError
from flows.pipelines import flight_delays

texts = st.text(max_size=12)
times = st.integers(0, YEAR_2100 - 1)
counts = st.integers(0, 2**53)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(texts, each, max_size=3),
    max_leaves=6,
)
lineages = st.builds(
    Lineage,
    pipeline=texts,
    version=texts,
    parent=st.none() | texts,
    cause=texts,
    created=times,
    labels=counts,
    code=st.none() | st.builds(CodeVersion, texts, st.booleans()),
    plan=texts,
    parameters=st.dictionaries(texts, st.dictionaries(texts, plain, max_size=3), max_size=3),
    libraries=st.dictionaries(texts, texts, max_size=3),
    data=st.builds(
        DataRange,
        times,
        times,
        st.lists(st.builds(OffsetRange, texts, counts, counts, counts), max_size=3).map(tuple),
    ),
    metrics=st.dictionaries(texts, st.dictionaries(texts, numbers, max_size=3), max_size=3),
    snapshot=st.builds(SnapshotDigest.of, st.binary(max_size=8)),
)


@settings(deadline=None)  # the first example builds the strategies
@given(lineages)
def test_a_lineage_is_read_as_it_was_written(lineage: Lineage) -> None:
    assert Lineage.from_json(lineage.to_json()) == lineage


def test_the_json_says_its_format_and_its_times_in_iso() -> None:
    raw = orjson.loads(LINEAGE.to_json())
    assert raw["format"] == "driftline-lineage/1"
    assert raw["created"] == "2013-01-01T12:00:00.000Z"
    assert raw["data"]["offsets"][1] == {"topic": "flight_labels", "partition": 0, "start": 10, "end": 410}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "driftline-lineage/2"}, "must be of format driftline-lineage/1"),
        ({"format": ...}, "got none"),
        ({"version": ...}, "KeyError: 'version'"),
        ({"version": 3}, "version must be"),
        ({"labels": "many"}, "labels must be"),
        ({"created": "yesterday"}, "must be a time in ISO 8601"),
        ({"code": {"commit": "0"}}, "clean"),
        ({"snapshot": {"sha256": "0", "size": 1, "colour": 2}}, "colour"),
        ({"owner": "me"}, "unknown field 'owner'"),
    ],
)
def test_another_json_is_refused_with_its_fault(change: dict[str, Any], says: str) -> None:
    raw = {**orjson.loads(LINEAGE.to_json()), **change}
    body = orjson.dumps({name: value for name, value in raw.items() if value is not ...})
    with pytest.raises(ConfigError, match="the lineage") as refused:
        Lineage.from_json(body)
    assert says in str(refused.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"17", b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ConfigError, match="the lineage must be JSON"):
        Lineage.from_json(body)


@pytest.mark.parametrize(
    "estimator",
    [
        flight_delays.model(),
        forest.ARFClassifier(seed=1),
        tree.HoeffdingAdaptiveTreeClassifier(seed=1),
        preprocessing.StandardScaler() | anomaly.HalfSpaceTrees(seed=1),
        compose.TransformerUnion(preprocessing.StandardScaler(), compose.Select("a"))
        | linear_model.LinearRegression(optim.Adam()),
        ensemble.ADWINBaggingClassifier(tree.HoeffdingTreeClassifier(), seed=1),
        drift.DriftRetrainingClassifier(tree.HoeffdingTreeClassifier()),
        object(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_parameters_of_any_estimator_are_json(estimator: Any) -> None:
    parameters = parameters_of(estimator)
    assert parameters
    assert orjson.loads(orjson.dumps(parameters)) == parameters


def test_parameters_name_functions_and_nested_objects() -> None:
    parameters = parameters_of(flight_delays.model())
    assert parameters["prepare"] == {"func": "flows.pipelines.flight_delays.prepare"}
    assert parameters["LogisticRegression"]["optimizer"] == {
        "AdaGrad": {"lr": {"Constant": {"learning_rate": 0.05}}, "eps": 1e-08}
    }


@pytest.mark.parametrize(
    ("announced", "cause"),
    [
        ({}, "first model of the declaration"),
        ({"parent": "v1", "cause": "alarm", "why": "the error rose"}, "alarm: the error rose"),
        ({"parent": "v2", "restores": "v1"}, "rollback to v1"),
        ({"parent": "v1", "drift": "drift_1"}, "alarm: drift_1"),
    ],
)
def test_the_cause_is_what_the_message_says(announced: dict[str, str], cause: str) -> None:
    assert cause_of(announced) == cause


@settings(deadline=None)
@given(lineages)
def test_a_lineage_does_not_differ_from_itself(lineage: Lineage) -> None:
    assert differences(lineage, lineage) == {}


def test_what_differs_is_named_and_what_always_differs_is_left_out() -> None:
    other = LINEAGE._replace(
        version="v9",
        snapshot=SnapshotDigest.of(b"other"),
        metrics={},
        plan="0123456789ab",
        code=None,
        parameters={**LINEAGE.parameters, "Extra": {"l2": 0.5}},
        data=LINEAGE.data._replace(until=LINEAGE.data.until + 1000),
    )
    found = differences(LINEAGE, other)
    assert found["plan"] == (LINEAGE.plan, "0123456789ab")
    assert found["parameters.Extra.l2"] == (None, 0.5)
    assert {name.partition(".")[0] for name in found} == {"plan", "code", "parameters", "data"}
    assert [name for name in found if name.startswith("data")] == ["data.until"]


def test_offsets_are_compared_by_partition() -> None:
    one, other = (
        LINEAGE._replace(data=DataRange(0, 1, offsets))
        for offsets in (
            (OffsetRange("a", 0, 1, 5), OffsetRange("b", 0, 1, 2)),
            (OffsetRange("b", 0, 1, 2), OffsetRange("a", 1, 0, 3)),
        )
    )
    assert differences(one, other) == {
        "data.offsets.a/0": ("1 to 5", None),
        "data.offsets.a/1": (None, "0 to 3"),
    }
