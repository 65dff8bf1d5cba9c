"""Gates: what a file may declare, and which values keep to a limit."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.gates import CHANGES, LIMITS, Figure, ModelGate, check, parse_gates, sections
from flows.errors import ConfigError

BINARY = sections(["LogLoss", "ROCAUC"], ["carrier"], is_binary=True)
OTHER = sections(["MAE"], [], is_binary=False)


def test_a_file_has_a_gate_for_each_limit():
    raw = {
        "labels": {"at_least": 1000},
        "metrics": {"LogLoss": {"at_most": 0.5, "change_at_most": 0.0}, "ROCAUC": {"change_at_least": -0.01}},
        "slices": {"carrier": {"at_most": 0.4}},
        "calibration": {"at_most": 0.05},
        "latency": {"at_most": 50},
        "size": {"at_most": 100_000},
    }
    assert parse_gates(raw, BINARY) == [
        ModelGate("labels", "at_least", 1000),
        ModelGate("metrics.LogLoss", "at_most", 0.5),
        ModelGate("metrics.LogLoss", "change_at_most", 0.0),
        ModelGate("metrics.ROCAUC", "change_at_least", -0.01),
        ModelGate("slices.carrier", "at_most", 0.4),
        ModelGate("calibration", "at_most", 0.05),
        ModelGate("latency", "at_most", 50),
        ModelGate("size", "at_most", 100_000),
    ]


@pytest.mark.parametrize(
    ("names", "raw", "fault"),
    [
        (BINARY, {}, "a file of gates must have one of labels, metrics, slices, calibration, latency, size"),
        (BINARY, {"metrics": {}}, "must have one of labels, metrics, .* got none; add a limit"),
        (BINARY, [], "the file must be a table, got \\[\\]"),
        (BINARY, {"metric": {}}, "must be one of labels, metrics, .* got 'metric'; correct it"),
        (
            OTHER,
            {"calibration": {"at_most": 1}},
            "must be one of labels, metrics, latency, size, got 'calibra",
        ),
        (
            BINARY,
            {"metrics": {"F1": {"at_least": 1}}},
            "F1 must be one of the declared metrics .LogLoss, ROCAUC",
        ),
        (
            sections(["LogLoss"], [], is_binary=True),
            {"slices": {"age": {"at_most": 1}}},
            "slices.age must be one of the declared slices .none.",
        ),
        (BINARY, {"metrics": 3}, "metrics must be a table, got 3"),
        (BINARY, {"size": 3}, "size must be a table, got 3"),
        (BINARY, {"size": {}}, "size must have a limit .at_most, at_least., got none; add one"),
        (BINARY, {"size": {"maximum": 3}}, "a limit of size must be one of at_most, at_least, got 'maximum'"),
        (
            BINARY,
            {"latency": {"change_at_most": 3}},
            "must be one of at_most, at_least, got 'change_at_most'",
        ),
        (BINARY, {"size": {"at_most": "3"}}, "size.at_most must be a number, got '3'; correct it"),
        (BINARY, {"size": {"at_most": True}}, "size.at_most must be a number, got True"),
        (BINARY, {"size": {"at_most": nan}}, "size.at_most must be a number, got nan"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_what_is_right(names, raw, fault):
    with pytest.raises(ConfigError, match=fault) as refused:
        parse_gates(raw, names)
    assert "\n" not in str(refused.value)


NUMBERS = st.floats(allow_nan=False)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([*LIMITS, *CHANGES]))
def test_a_gate_is_passed_on_its_side_of_the_bound_which_is_part_of_it(bound, value, change, limit):
    (found,) = check([ModelGate("calibration", limit, bound)], {"calibration": Figure(value, change)})
    assert found.value == (value if limit in LIMITS else change)
    other = limit.replace("most", "least") if "most" in limit else limit.replace("least", "most")
    (opposite,) = check([ModelGate("calibration", other, bound)], {"calibration": Figure(value, change)})
    assert found.passed or opposite.passed
    assert (found.passed and opposite.passed) == (found.value == bound)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("bound", [-inf, 0.0, inf])
def test_an_unknown_value_keeps_to_no_limit(limit, bound):
    (found,) = check([ModelGate("slices.carrier", limit, bound)], {"slices.carrier": Figure(nan, nan)})
    assert not found.passed
