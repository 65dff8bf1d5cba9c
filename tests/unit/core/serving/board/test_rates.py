"""Rates of counters."""

import pytest

from flows.core.serving.board.rates import Rates


def test_a_rate_is_over_the_last_ten_seconds():
    rates = Rates()
    for second in range(0, 41, 2):
        rates.add(second, {"events": 100.0 * min(second, 20)})
    assert rates.of("events") == 0.0


def test_a_counter_that_fell_began_again_at_zero():
    rates = Rates()
    for second, count in enumerate([90.0, 100.0, 5.0, 15.0]):
        rates.add(second, {"events": count})
    assert rates.of("events") == pytest.approx((10 + 5 + 10) / 3)


def test_counters_that_nobody_read_for_a_minute_are_forgotten():
    rates = Rates()
    rates.add(0.0, {"events": 1.0})
    rates.add(100.0, {"events": 1000.0})
    assert rates.of("events") is None
