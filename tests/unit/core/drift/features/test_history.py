"""The windows that people see are those of the detector, and their shares make its PSI."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from flows.core.drift.columns import OTHER
from flows.core.drift.features import FeatureAlarm, FeatureDrift, FeaturePolicy
from flows.core.drift.features.history import FeatureHistory, FullWindow
from flows.core.drift.levels import Cleared, Position
from flows.core.drift.statistics import population_stability_index

MINUTE = 60_000
POLICY = FeaturePolicy(reference=2000, window=500)
MOVED, ROWS = 3000, 4000
COLUMNS: dict[str, Any] = {"amount": "number", "flag": "number", "kind": "category"}


def made(seed: int = 3) -> list[tuple[Any, ...]]:
    """Return rows of which a number and a category move at `MOVED`; one number has two values."""
    rng = np.random.default_rng(seed)
    amounts = rng.normal(size=ROWS) + np.where(np.arange(ROWS) >= MOVED, 1.0, 0.0)
    flags = rng.integers(0, 2, size=ROWS)
    kinds = ["new" if n >= MOVED and rng.random() < 0.4 else "ab"[int(rng.integers(2))] for n in range(ROWS)]
    return list(zip(amounts.tolist(), flags.tolist(), kinds, strict=True))


def run(drift: FeatureDrift, rows: Sequence[Sequence[Any]], batch: int = 256) -> list[FeatureAlarm | Cleared]:
    found = []
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        numbers = range(first, first + len(part))
        times = [number * MINUTE for number in numbers]
        found += drift.update(part, times, [Position("predictions", 0, number) for number in numbers])
    return found


def history(most: int = 100) -> FeatureHistory:
    return FeatureHistory(COLUMNS, POLICY, {}, most)


def seen(rows: Sequence[Sequence[Any]]) -> list[FullWindow]:
    watched = history()
    run(watched, rows)
    return list(watched.windows)


def test_its_alarms_are_those_of_the_detector():
    assert run(history(), made()) == run(FeatureDrift(COLUMNS, POLICY), made())


def test_a_window_has_the_bounds_and_the_columns_of_its_alarm():
    (alarm,) = run(FeatureDrift(COLUMNS, POLICY), made())
    assert isinstance(alarm, FeatureAlarm)
    (window,) = [each for each in seen(made()) if each.restarted]
    assert (window.since, window.until) == (alarm.since, alarm.position.offset * MINUTE)
    assert window.number == (MOVED - 2000) // 500
    moved = {name: each.moved for name, each in window.columns.items() if each.drifted}
    assert [(each.column, each.psi) for each in alarm.moved] == [(n, m.psi) for n, m in moved.items()]


def test_the_shares_are_those_of_the_rows():
    rows = made()
    for window in seen(rows):
        part = rows[window.since // MINUTE : window.until // MINUTE + 1]
        assert len(part) == 500
        amounts = window.columns["amount"].distribution
        *bounds, last = amounts.bins
        assert last is None
        counts = Counter(bisect_left(bounds, amount) for amount, _, _ in part)
        assert amounts.window == pytest.approx([counts[n] / 500 for n in range(len(bounds) + 1)])
        kinds = window.columns["kind"].distribution
        counted = Counter(kind if kind != "new" else OTHER for _, _, kind in part)
        assert dict(zip(kinds.bins, kinds.window, strict=True)) == {
            kind: count / 500 for kind, count in counted.items()
        }


def test_the_shares_of_a_column_make_its_psi():
    columns = [each for window in seen(made()) for each in window.columns.values()]
    assert len(columns) >= 2 * len(COLUMNS)
    for moved, _, shares in columns:
        assert len(shares.bins) == len(shares.reference) == len(shares.window)
        assert sum(shares.reference) == pytest.approx(1)
        psi = population_stability_index(np.array(shares.window), np.array(shares.reference))
        assert psi == pytest.approx(moved.psi, rel=1e-12)


def test_only_the_last_windows_are_kept_and_keep_their_numbers():
    watched = history(most=2)
    run(watched, made()[:MOVED])
    assert [each.number for each in watched.windows] == [0, 1]
    run(watched, made()[MOVED:])
    assert [each.number for each in watched.windows] == [1, 2]


def test_it_compares_once_a_reference_is_full():
    watched = history()
    run(watched, made()[:1999])
    assert not watched.is_comparing
    run(watched, made()[1999:2000])
    assert watched.is_comparing
    assert not watched.windows
