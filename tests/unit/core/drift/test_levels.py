"""The gate of warm-up and cool-down."""

import pytest

from flows.core.drift.levels import Gate


@pytest.fixture
def gate() -> Gate:
    return Gate(warm_up=2, cool_down=1000)


def test_nothing_passes_in_the_warm_up(gate):
    assert [gate.is_open("alarm", count, 0) for count in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("closed", "level", "is_open"),
    [
        ("warning", "warning", False),
        ("warning", "alarm", True),
        ("alarm", "warning", False),
        ("alarm", "alarm", False),
    ],
)
def test_a_warning_holds_back_warnings_and_an_alarm_holds_back_both(gate, closed, level, is_open):
    gate.close(closed, 0)
    assert gate.is_open(level, 5, 999) is is_open
    assert gate.is_open(level, 5, 1000)
