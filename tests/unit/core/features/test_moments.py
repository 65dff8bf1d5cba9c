"""Moments: unique and within their millisecond, in any order and after restarts."""

from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.moments import Moments

LATENESS = 20
asked = st.lists(st.tuples(st.integers(0, LATENESS), st.booleans()), max_size=300)


@given(asked)
def test_no_two_questions_within_the_lateness_have_the_same_moment(asked):
    moments, newest, seen = Moments(LATENESS), 1, set()
    for number, (behind, restarts) in enumerate(asked):
        newest = max(newest, number // 3)
        time = max(1, newest - behind)
        newest = max(newest, time)
        moment = moments.take(time)
        assert moment // 1000 == time
        assert moment % 1000 > 0
        assert moment not in seen
        seen.add(moment)
        if restarts:
            moments = Moments(LATENESS, moments.snapshot())


def test_beyond_999_questions_the_last_moment_is_shared():
    moments = Moments(LATENESS)
    assert [moments.take(7) for _ in range(1001)] == [*range(7001, 8000), 7999, 7999]
    moments.take(8)
    assert [moments.take(7) for _ in range(1001)] == [*range(7999, 7000, -1), 7001, 7001]


def test_what_is_too_late_is_forgotten():
    moments = Moments(LATENESS)
    for time in range(10 * LATENESS):
        moments.take(time + 1)
        moments.take(time)
    assert len(moments._past) <= 2 * LATENESS + 1
    assert len(moments.snapshot()) <= LATENESS + 2


@given(st.lists(st.lists(st.integers(0, 2 * LATENESS))))
def test_a_batch_of_questions_gets_the_moments_that_each_would_get(batches):
    together, alone, start = Moments(LATENESS), Moments(LATENESS), 1
    for number, behind in enumerate(batches):
        times = [start + number + LATENESS - min(each, LATENESS) for each in behind]
        assert together.take_batch(times) == [alone.take(time) for time in times]
    assert together.snapshot() == alone.snapshot()


def test_what_is_too_late_is_forgotten_after_a_batch():
    moments = Moments(LATENESS)
    for time in range(10 * LATENESS):
        moments.take_batch([time + 1, time])
    assert len(moments._past) <= 2 * LATENESS + 1
