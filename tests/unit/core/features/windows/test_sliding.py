"""Exact and tiled windows, compared with an oracle that recomputes from all records."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil, fsum
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_views import (
    COLUMNS,
    LATENESS,
    VIEW,
    VIEWS,
)

from flows.core.features.plan import Aggregate, View
from flows.core.features.windows.methods import COPIED
from flows.core.features.windows.partials import DISTINCT
from flows.core.features.windows.sliding import Value, WindowState, windows_of
from flows.core.features.windows.tiles import TileState

State = WindowState | TileState


def state_of(view: View) -> State:
    return TileState(view, LATENESS) if view.slide else windows_of(view, LATENESS)()


class Add(NamedTuple):
    back: int  # how far the record's time is behind the newest record; ahead when negative
    values: tuple[float, float, str]


class Again(NamedTuple):
    which: int  # the record that is delivered once more


class Ask(NamedTuple):
    back: int
    own: int | None  # the record that must not count


class Restart(NamedTuple):
    pass


NUMBERS = st.integers(-50, 50) | st.sampled_from([0.1, -2.7, 1e-9, 123456.789])
ADDS = st.builds(
    Add,
    st.integers(-20, 40) | st.integers(-10, 3),
    st.tuples(NUMBERS, NUMBERS, st.sampled_from(["JFK", "LGA", "EWR"])),
)
ASKS = st.builds(Ask, st.integers(-80, LATENESS) | st.integers(-5, 0), st.none() | st.integers(0, 20))
OPERATIONS = st.lists(
    ADDS | ADDS | ADDS | ASKS | ASKS | st.builds(Again, st.integers(0, 20)) | st.builds(Restart), max_size=50
)


@pytest.fixture(autouse=True, scope="module")
def _drop_expired_records_early() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowState, "WORTH_DROPPING", 2)
        yield


class Oracle:
    """Keeps every record, and aggregates in the plainest way."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.newest = self.newest_record = 1000
        self.records: dict[str, tuple[int, tuple]] = {}

    def ask(self, time: int, own: str | None) -> list[Value]:
        return [
            self.aggregate(a, time, own if self.view.excludes_own else None) for a in self.view.aggregates
        ]

    def aggregate(self, a: Aggregate, time: int, own: str | None) -> Value:
        view = self.view
        end = time - view.delay
        if view.slide:
            end = end // view.slide * view.slide
        inside = [
            (t, values)
            for id_, (t, values) in self.records.items()
            if end - a.window < t <= end and id_ != own
        ]
        inside.sort(key=lambda record: record[0])  # stable: of equal times the order of arrival
        if a.function == "count":
            return len(inside)
        if a.function == "time_since_last":
            return (time - inside[-1][0]) / 1000 if inside else None
        return COMPUTE.get(a.function, quantile(a.function))([v[COLUMNS.index(a.column)] for _, v in inside])


def quantile(function: str) -> Callable[[list], Value]:
    share = float(function[1:]) / 100 if function[0] == "p" else 0.0
    return lambda values: sorted(values)[max(0, ceil(round(share * len(values), 9)) - 1)] if values else None


COMPUTE: dict[str, Callable[[list], Value]] = {
    "sum": fsum,
    "mean": lambda values: fsum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else None,
    "var": lambda values: statistics.variance(values) if len(values) > 1 else None,
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "count_distinct": lambda values: len(set(values)),
}


def fresh(view: View) -> State:
    state = state_of(view)
    state.ask(1000)  # both start at the same time
    return state


def assert_equal(view: View, answer: list[Value], expected: list[Value]) -> None:
    for a, got, wanted in zip(view.aggregates, answer, expected, strict=True):
        if a.function in ("std", "var") and wanted is not None:
            wanted = pytest.approx(wanted, rel=1e-12, abs=1e-12)
        assert got == wanted, a.name


def run(view: View, operations: list, state: State | None = None) -> State:
    """Run both, and compare every result with the oracle."""
    state, oracle = state or fresh(view), Oracle(view)
    for operation in operations:
        state = apply(view, operation, state, oracle)
    return state


def apply(view: View, operation: object, state: State, oracle: Oracle) -> State:
    ids = list(oracle.records)
    match operation:
        case Add(back, values):
            time, id_ = oracle.newest_record - back, f"r{len(ids)}"
            late = bool(ids) and time < oracle.newest_record - LATENESS
            in_no_window = time <= oracle.newest - LATENESS - view.delay - view.longest
            outcome = state.add(time, id_, values)
            assert outcome == ("late" if late else "added") or (in_no_window and outcome == "late")
            if outcome == "added":
                oracle.records[id_] = (time, values)
                oracle.newest_record = time if not ids else max(oracle.newest_record, time)
                oracle.newest = max(oracle.newest, time)
        case Again(which) if which < len(ids):
            time, values = oracle.records[ids[which]]
            assert state.add(time, ids[which], values) in ("duplicate", "late")
        case Ask(back, which):
            time = oracle.newest - back
            own = ids[which] if which is not None and which < len(ids) else "unknown"
            oracle.newest = max(oracle.newest, time)
            assert_equal(view, state.ask(time, own), oracle.ask(time, own))
        case Restart():
            return copy(state, view)
    return state


def copy(state: State, view: View = VIEW) -> State:
    restored = state_of(view)
    restored.restore(state.snapshot())
    return restored


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@settings(max_examples=250, deadline=None)
@given(operations=OPERATIONS)
def test_every_answer_equals_a_full_recomputation_also_across_restarts(view: View, operations: list) -> None:
    run(view, operations)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
@settings(max_examples=100, deadline=None)
@given(operations=OPERATIONS)
def test_a_restored_state_is_the_original_byte_for_byte(view: View, operations: list) -> None:
    original = run(view, [o for o in operations if not isinstance(o, Restart)])
    assert copy(original, view).snapshot() == original.snapshot()


FLOATS = st.floats(-1e9, 1e9).filter(lambda x: not 0 < abs(x) < 1e-14)  # each a multiple of 2**-100
SUMS = View(
    "v",
    "origin",
    "s",
    (Aggregate("s", "sum", "delay", 20), Aggregate("m", "mean", "delay", 20)),
    excludes_own=True,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), FLOATS), max_size=60))
def test_sums_of_fractions_do_not_drift(steps: list[tuple[int, float]]) -> None:
    state, oracle, time = windows_of(SUMS, LATENESS)(), Oracle(SUMS), 0
    for index, (ahead, value) in enumerate(steps):
        time += ahead
        state.add(time, str(index), (value,))
        oracle.records[str(index)] = (time, (value,))
        assert state.ask(time) == oracle.ask(time, None)


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_a_restored_sum_is_equal_to_the_last_bit(values: list[float]) -> None:
    state = windows_of(SUMS, LATENESS)()
    for time, value in enumerate(values):
        state.add(time, str(time), (value,))
        state.ask(time)
    restored = copy(state, SUMS)
    for time in range(len(values), len(values) + 20):
        assert restored.ask(time) == state.ask(time)


def test_a_huge_value_leaves_nothing_behind_when_it_goes() -> None:
    state = windows_of(SUMS, LATENESS)()
    state.add(0, "huge", (1e17,))
    state.add(10, "small", (0.25,))
    assert state.ask(10) == [1e17, 5e16]
    assert state.ask(10, "huge") == [0.25, 0.25]
    assert state.ask(25) == [0.25, 0.25]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_an_empty_window_has_counts_and_sum_zero_and_nothing_else(view: View) -> None:
    expected = [a.empty for a in view.aggregates]
    assert {a.function for a in view.aggregates if a.empty == 0} == {"count", "count_distinct", "sum"}
    state = fresh(view)
    assert state.ask(1000) == expected
    state.add(1001, "only", (0.1, 0.2, "JFK"))
    assert state.ask(1000) == expected
    assert state.ask(2_000) == expected


ONE = View(
    "v", "origin", "s", (Aggregate("n", "count", "", 10), Aggregate("top", "max", "x", 10)), excludes_own=True
)


@pytest.mark.parametrize(
    ("asked_at", "count"),
    [(99, 0), (100, 1), (109, 1), (110, 0)],
    ids=["before it", "its own time", "just inside", "as old as the window is long"],
)
def test_a_window_holds_a_record_from_its_time_until_its_length_has_passed(asked_at: int, count: int) -> None:
    state = windows_of(ONE, LATENESS)()
    state.add(100, "r", (1,))
    assert state.ask(asked_at)[0] == count


def test_the_answer_has_the_order_of_the_view_also_where_its_windows_alternate() -> None:
    aggregates = [
        Aggregate(f"{f}_{w}", f, "x" if f == "sum" else "", w) for f in ("count", "sum") for w in (5, 9)
    ]
    state = windows_of(View("v", "origin", "s", tuple(aggregates)), LATENESS)()
    state.add(94, "old", (3,))
    state.add(100, "new", (4,))
    assert state.ask(100) == [1, 2, 4, 7]


def test_the_own_record_is_left_out_though_it_is_the_largest_and_shares_its_time() -> None:
    state = windows_of(ONE, LATENESS)()
    for id_, value in (("a", 5), ("own", 9), ("b", 7)):
        state.add(100, id_, (value,))
    assert state.ask(100) == [3, 9]
    assert state.ask(100, "own") == [2, 7]
    assert state.ask(100) == [3, 9]


def test_a_record_behind_the_lateness_changes_nothing() -> None:
    state = windows_of(ONE, LATENESS)()
    state.add(100, "new", (1,))
    before = state.snapshot()
    assert state.add(100 - LATENESS - 1, "old", (9,)) == "late"
    assert state.snapshot() == before
    assert state.add(100 - LATENESS, "just in time", (9,)) == "added"


def test_a_question_older_than_the_lateness_does_not_spoil_the_answers_after_it() -> None:
    state = windows_of(ONE, LATENESS)()
    for time in range(60):
        state.add(time, str(time), (time,))
    for time in (20, 59, 60):
        state.ask(time)
    assert state.ask(60) == [9, 59]
    restored = copy(state, ONE)
    restored.add(61, "61", (0,))
    assert restored.ask(61) == [9, 59]


@pytest.mark.parametrize("jitter", [0, 1], ids=["in order", "always out of order"])
def test_expired_records_are_forgotten_whatever_the_order_of_records_and_questions(jitter: int) -> None:
    state = windows_of(ONE, LATENESS)()
    for step in range(1_000):
        state.add(step * 2, f"even{step}", (1,))
        state.add(step * 2 - jitter, f"odd{step}", (1,))
        state.ask(step * 2)
    assert len(state.snapshot()) < 100 * 30


def test_an_entity_keeps_no_more_records_than_the_bound_and_the_newest_ones_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(WindowState, "RECORDS", 64)
    view = View("v", "o", "s", (Aggregate("n", "count", "", 10**6), Aggregate("s", "sum", "x", 10**6)))
    state = windows_of(view, LATENESS)()
    for time in range(1_000):
        state.add(time, str(time), (time,))
        count, total = state.ask(time)
        assert count >= min(time + 1, 60)
        assert total == sum(range(time + 1 - count, time + 1))
    assert len(state.snapshot()) < 70 * 16 + 20 * LATENESS


TILES = View(
    "tiles",
    "o",
    "s",
    (Aggregate("d", "count_distinct", "x", 1000), Aggregate("q", "p90", "x", 1000)),
    slide=100,
)


def test_beyond_the_bound_distinct_values_are_counted_within_five_percent_and_quantiles_by_rank() -> None:
    state = TileState(TILES, LATENESS)
    values = [(7919 * n) % 10_007 for n in range(20 * DISTINCT)]
    for number, value in enumerate(values):
        state.add(1 + number % 1000 if number < 1000 else 1000, str(number), (value,))
    for asked in (state, copy(state, TILES)):
        distinct, quantile_90 = asked.ask(1000)
        assert distinct == pytest.approx(len(set(values)), rel=0.05)
        assert sum(v <= quantile_90 for v in values) / len(values) == pytest.approx(0.9, abs=0.03)


def test_tiles_are_few_whatever_the_number_of_records() -> None:
    state = TileState(View("n", "o", "s", (Aggregate("n", "count", "", 1000),), slide=100), LATENESS)
    for time in range(5_000):
        state.add(time, str(time), ())
        state.ask(time)
    assert len(state.snapshot()) < 700


@pytest.mark.parametrize("slide", [0, 100], ids=["exact", "tiled"])
def test_an_entity_with_many_records_knows_the_ids_within_the_lateness_alone(slide: int) -> None:
    lateness, view = 2 * COPIED, replace(ONE, slide=slide, excludes_own=False)
    state = TileState(view, lateness) if slide else windows_of(view, lateness)()
    for time in range(5 * COPIED):
        assert state.add(time, str(time), (1.0,)) == "added"
        assert state.add(time, str(time), (1.0,)) == "duplicate"
    assert state.add(time, str(time - lateness), (1.0,)) == "duplicate"
    assert state.add(time, str(time - lateness - 1), (1.0,)) == "added"
