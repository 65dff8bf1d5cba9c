"""Rolling windows, compared with recomputation."""

from hypothesis import given
from hypothesis import strategies as st

from flows.core.evaluation.rolling import RecentItems
from flows.core.models.snapshots import Sealer

arrivals = st.lists(st.integers(0, 60), max_size=60)


def taken(times: list[int], limit: int) -> RecentItems[int]:
    """The items are their own numbers; they come in blocks of seven."""
    recent: RecentItems[int] = RecentItems(limit)
    for start in range(0, len(times), 7):
        block = times[start : start + 7]
        recent.extend(block, range(start, start + len(block)))
    return recent


@given(arrivals, st.integers(1, 20), st.integers(0, 30))
def test_the_last_labels_are_those_that_came_last_as_far_as_they_are_kept(times, limit, count):
    everything = list(range(len(times)))
    expected = everything[max(0, len(times) - min(count, limit)) :]
    assert taken(times, limit).last(count) == expected


@given(arrivals, st.integers(1, 50))
def test_without_a_limit_that_bites_a_period_has_every_label_of_its_time_in_whatever_order_they_came(
    times, period
):
    window = taken(times, limit=100).within(period)
    newest = max(times, default=0)
    assert window.items == [number for number, time in enumerate(times) if newest - period < time]
    assert window.whole


@given(arrivals, st.integers(1, 20), st.integers(1, 50))
def test_a_period_says_that_it_is_whole_exactly_where_nothing_of_its_time_was_dropped(times, limit, period):
    window = taken(times, limit).within(period)
    everything = taken(times, limit=100).within(period).items
    assert window.whole == (window.items == everything)
    assert window.items == everything[len(everything) - len(window.items) :]


def test_a_label_that_is_behind_the_period_when_it_comes_is_not_in_it():
    assert taken([100, 10, 120], limit=10).within(50).items == [0, 2]


def test_no_more_is_kept_than_the_limit():
    recent = taken(list(range(1000)), limit=7)
    assert len(recent.last(1000)) == len(recent.within(10_000).items) == 7


def test_what_is_kept_survives_a_snapshot():
    recent, sealer = taken([5, 3, 9, 4], limit=3), Sealer(b"s" * 32)
    kept = sealer.open_state(sealer.seal_state(recent))
    for each in (recent, kept):
        each.extend([8], [4])
    assert kept.within(10) == recent.within(10)
    assert kept.within(10).whole is False
