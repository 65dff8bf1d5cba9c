"""The row transforms of card_fraud, by tables."""

from datetime import UTC, datetime
from typing import Any

import pytest

from flows.pipelines.card_features import calendar, terminal_risk


@pytest.mark.parametrize(
    ("day", "weekend"),
    [(2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 1), (8, 1), (9, 0)],  # 2 April 2018 was a Monday
)
def test_saturday_and_sunday_are_the_weekend(day: int, weekend: int) -> None:
    ends = [datetime(2018, 4, day, tzinfo=UTC), datetime(2018, 4, day, 23, 59, 59, tzinfo=UTC)]
    assert calendar({"time": ends})["weekend"] == [weekend, weekend]


def test_the_night_ends_with_the_hour_of_six() -> None:
    hours = [datetime(2018, 4, 3, hour, 59, 59, tzinfo=UTC) for hour in range(24)]
    assert calendar({"time": hours})["night"] == [1] * 7 + [0] * 17
    assert calendar({"time": [datetime(2018, 4, 3, 7, tzinfo=UTC)]})["night"] == [0]


@pytest.mark.parametrize(
    ("frauds", "transactions", "risk"),
    [(0, 0, 0.0), (0, 9, 0.0), (1, 4, 0.25), (7, 7, 1.0), (None, None, 0.0), (None, 5, 0.0), (0, None, 0.0)],
)
def test_the_risk_of_a_terminal_is_the_share_of_frauds_and_0_where_nothing_is_known(
    frauds: int | None, transactions: int | None, risk: float
) -> None:
    inputs: dict[str, list[Any]] = {}
    for window in ("1d", "7d", "30d"):
        inputs |= {f"frauds_{window}": [0, frauds], f"transactions_{window}": [3, transactions]}
    assert terminal_risk(inputs) == {
        "risk_1d": [0.0, risk],
        "risk_7d": [0.0, risk],
        "risk_30d": [0.0, risk],
    }


def test_each_window_has_its_own_risk() -> None:
    inputs = {f"transactions_{window}": [10] for window in ("1d", "7d", "30d")}
    inputs |= {"frauds_1d": [1], "frauds_7d": [2], "frauds_30d": [3]}
    assert terminal_risk(inputs) == {"risk_1d": [0.1], "risk_7d": [0.2], "risk_30d": [0.3]}


def test_of_no_rows_there_are_no_features() -> None:
    names = [f"{what}_{window}" for what in ("frauds", "transactions") for window in ("1d", "7d", "30d")]
    assert terminal_risk({name: [] for name in names}) == {"risk_1d": [], "risk_7d": [], "risk_30d": []}
    assert calendar({"time": []}) == {"weekend": [], "night": []}
