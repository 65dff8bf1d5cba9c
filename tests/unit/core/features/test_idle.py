"""The index of idle keys: each key is returned once, and not before it is idle."""

from hypothesis import given
from hypothesis import strategies as st

from flows.core.features.idle import IdleIndex


@given(
    st.lists(st.integers(0, 500), max_size=30), st.integers(1, 50), st.lists(st.integers(0, 600), max_size=10)
)
def test_each_key_is_due_once_and_never_before_its_time(times, width, looks):
    idle = IdleIndex(width)
    for number, time in enumerate(times):
        idle.put(str(number), time)
    due = []
    for now in (*sorted(looks), 10_000):
        found = idle.due(now)
        assert all(times[int(key)] <= now for key in found)
        due += found
    assert sorted(due, key=int) == [str(number) for number in range(len(times))]
