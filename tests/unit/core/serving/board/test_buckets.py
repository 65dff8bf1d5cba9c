"""Quantiles of histograms."""

from math import inf, isnan

import pytest

from flows.core.serving.board.buckets import quantile

BOUNDS = [1.0, 2.0, 4.0, inf]


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([10, 10, 10, 10], 0.5, 0.5),
        ([0, 0, 10, 10], 0.5, 3.0),
        ([5, 5, 10, 10], 0.5, 1.0),
        ([0, 0, 0, 9], 0.5, 4.0),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket_and_at_most_the_last_bound(counts, share, value):
    assert quantile(BOUNDS, counts, share) == value


def test_without_values_there_is_no_quantile():
    assert isnan(quantile(BOUNDS, [0, 0, 0, 0], 0.5))
    assert isnan(quantile([], [], 0.5))
