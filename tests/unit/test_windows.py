"""The windows against an oracle that keeps every record and adds up afresh for every question."""

from collections.abc import Iterator
from itertools import product
from math import fsum
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.core import windows
from flows.core.plan import FUNCTIONS, Aggregate, View
from flows.core.windows import Value, WindowState

LATENESS = 15
LENGTHS = (5, 20, 60)
COLUMNS = ("delay", "fare")
VIEW = View(
    "everything",
    "origin",
    "departures",
    tuple(Aggregate(f"{f}_{c}_{w}", f, c, w) for f, c, w in product(FUNCTIONS, COLUMNS, LENGTHS)),
)
KEPT = LATENESS + max(LENGTHS)


class Add(NamedTuple):
    back: int  # how far the record's time is behind the newest time; ahead when negative
    values: tuple[int, int]


class Again(NamedTuple):
    which: int  # the record that is delivered once more


class Ask(NamedTuple):
    back: int
    own: int | None  # the record that must not count


NUMBERS = st.integers(-50, 50)
ADDS = st.builds(Add, st.integers(-20, 90) | st.integers(-10, 3), st.tuples(NUMBERS, NUMBERS))
ASKS = st.builds(Ask, st.integers(-80, LATENESS) | st.integers(-5, 0), st.none() | st.integers(0, 20))
OPERATIONS = st.lists(ADDS | ADDS | ASKS | st.builds(Again, st.integers(0, 20)), max_size=50)


@pytest.fixture(autouse=True, scope="module")
def _drop_expired_records_early() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WORTH_DROPPING", 2)
        yield


class Oracle:
    """Every record ever taken in, and the plainest way to aggregate them."""

    def __init__(self) -> None:
        self.newest = 0
        self.records: dict[str, tuple[int, tuple[float, ...]]] = {}

    def ask(self, view: View, time: int, own: str | None) -> list[Value]:
        return [self.aggregate(a, view.columns.index(a.column), time, own) for a in view.aggregates]

    def aggregate(self, a: Aggregate, column: int, time: int, own: str | None) -> Value:
        values = [
            values[column]
            for id_, (t, values) in self.records.items()
            if time - a.window < t <= time and id_ != own
        ]
        if a.function in ("count", "sum"):
            return len(values) if a.function == "count" else fsum(values)
        if not values:
            return None
        return {"mean": fsum(values) / len(values), "max": max(values), "min": min(values)}[a.function]


def fresh() -> WindowState:
    state = WindowState(VIEW, LATENESS)
    state.ask(Oracle().newest)  # both start at the same time
    return state


def run(operations: list[Add | Again | Ask], state: WindowState, oracle: Oracle) -> WindowState:
    """Drive both, and hold every answer and every outcome against the oracle."""
    for operation in operations:
        apply(operation, state, oracle)
    return state


def apply(operation: Add | Again | Ask, state: WindowState, oracle: Oracle) -> None:
    ids = list(oracle.records)
    match operation:
        case Add(back, values):
            time, id_ = oracle.newest - back, f"r{len(ids)}"
            late = time <= oracle.newest - KEPT
            assert state.add(time, id_, values) == ("late" if late else "added")
            oracle.newest = max(oracle.newest, time)
            if not late:
                oracle.records[id_] = (time, values)
        case Again(which) if which < len(ids):
            time, values = oracle.records[ids[which]]
            expired = time <= oracle.newest - KEPT
            assert state.add(time, ids[which], values) in (
                ("duplicate", "late") if expired else ("duplicate",)
            )
        case Ask(back, which):
            time = oracle.newest - back
            own = ids[which] if which is not None and which < len(ids) else "unknown"
            oracle.newest = max(oracle.newest, time)
            assert state.ask(time, own) == oracle.ask(VIEW, time, own)


def copy(state: WindowState, view: View = VIEW) -> WindowState:
    restored = WindowState(view, LATENESS)
    restored.restore(orjson.loads(orjson.dumps(state.snapshot())))
    return restored


@settings(max_examples=400, deadline=None)
@given(OPERATIONS)
def test_every_answer_equals_a_full_recomputation(operations: list[Add | Again | Ask]) -> None:
    run(operations, fresh(), Oracle())


@settings(max_examples=150, deadline=None)
@given(OPERATIONS, OPERATIONS)
def test_a_restored_state_answers_on_as_if_nothing_had_happened(
    before: list[Add | Again | Ask], after: list[Add | Again | Ask]
) -> None:
    oracle = Oracle()
    restored = copy(run(before, fresh(), oracle))
    run(after, restored, oracle)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS, OPERATIONS)
def test_a_restored_state_stays_equal_to_the_original_byte_for_byte(
    before: list[Add | Again | Ask], after: list[Add | Again | Ask]
) -> None:
    oracle, twin = Oracle(), Oracle()
    original = run(before, fresh(), oracle)
    restored = copy(original)
    twin.newest, twin.records = oracle.newest, dict(oracle.records)
    assert orjson.dumps(restored.snapshot()) == orjson.dumps(original.snapshot())
    run(after, original, oracle)
    run(after, restored, twin)
    assert orjson.dumps(restored.snapshot()) == orjson.dumps(original.snapshot())


FLOATS = st.floats(-1e9, 1e9, allow_subnormal=False)
SUMS = View("v", "origin", "s", (Aggregate("s", "sum", "x", 20), Aggregate("m", "mean", "x", 20)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), FLOATS), max_size=60))
def test_sums_of_fractions_do_not_drift(steps: list[tuple[int, float]]) -> None:
    state, oracle, time = WindowState(SUMS, LATENESS), Oracle(), 0
    for index, (ahead, value) in enumerate(steps):
        time += ahead
        state.add(time, str(index), (value,))
        oracle.records[str(index)] = (time, (value,))
        assert state.ask(time) == pytest.approx(oracle.ask(SUMS, time, None), rel=1e-12, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_a_restored_sum_is_equal_to_the_last_bit(values: list[float]) -> None:
    state = WindowState(SUMS, LATENESS)
    for time, value in enumerate(values):
        state.add(time, str(time), (value,))
        state.ask(time)
    restored = copy(state, SUMS)
    for time in range(len(values), len(values) + 20):
        assert restored.ask(time) == state.ask(time)


def test_a_huge_value_leaves_nothing_behind_when_it_goes() -> None:
    state = WindowState(SUMS, LATENESS)
    state.add(0, "huge", (1e17,))
    state.add(10, "small", (0.25,))
    assert state.ask(10) == [1e17, 5e16]
    assert state.ask(10, "huge") == [0.25, 0.25]
    assert state.ask(25) == [0.25, 0.25]


def test_an_empty_window_has_count_and_sum_zero_and_nothing_else() -> None:
    expected = [0 if a.function in ("count", "sum") else None for a in VIEW.aggregates]
    state = WindowState(VIEW, LATENESS)
    assert state.ask(0) == expected
    state.add(1, "only", (0.1, 0.2))
    assert state.ask(1, "only") == expected
    assert state.ask(1_000) == expected


ONE = View("v", "origin", "s", (Aggregate("n", "count", "x", 10), Aggregate("top", "max", "x", 10)))


@pytest.mark.parametrize(
    ("asked_at", "count"),
    [(99, 0), (100, 1), (109, 1), (110, 0)],
    ids=["before it", "its own time", "just inside", "as old as the window is long"],
)
def test_a_window_holds_a_record_from_its_time_until_its_length_has_passed(asked_at: int, count: int) -> None:
    state = WindowState(ONE, LATENESS)
    state.add(100, "r", (1,))
    assert state.ask(asked_at)[0] == count


def test_the_own_record_is_left_out_though_it_is_the_largest_and_shares_its_time() -> None:
    state = WindowState(ONE, LATENESS)
    for id_, value in (("a", 5), ("own", 9), ("b", 7)):
        state.add(100, id_, (value,))
    assert state.ask(100) == [3, 9]
    assert state.ask(100, "own") == [2, 7]
    assert state.ask(100) == [3, 9]


def test_a_record_older_than_every_window_is_late_and_changes_nothing() -> None:
    state = WindowState(ONE, LATENESS)
    state.add(100, "new", (1,))
    before = orjson.dumps(state.snapshot())
    assert state.add(100 - LATENESS - 10, "old", (9,)) == "late"
    assert orjson.dumps(state.snapshot()) == before


def test_a_question_older_than_the_lateness_does_not_spoil_the_answers_after_it() -> None:
    state = WindowState(ONE, LATENESS)
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
    state = WindowState(ONE, LATENESS)
    for step in range(1_000):
        state.add(step * 2, f"even{step}", (1,))
        state.add(step * 2 - jitter, f"odd{step}", (1,))
        state.ask(step * 2)
    assert len(state.snapshot()[0]) < 100
