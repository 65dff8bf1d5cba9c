from hypothesis import given
from hypothesis import strategies as st

from flows.core.stream.recent_ids import RecentIds


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 6))
def test_an_id_is_known_as_long_as_it_is_among_the_last_ones_remembered(ids, limit):
    recent = RecentIds(limit)
    remembered: list[str] = []
    for item in ids:
        new = item not in remembered[-limit:]
        assert recent.add(item) is new
        remembered += [item] * new
    assert recent.snapshot() == remembered[-limit:]


@given(st.lists(st.sampled_from("abcdefgh")), st.lists(st.sampled_from("abcdefgh")), st.integers(1, 6))
def test_what_is_restored_from_a_snapshot_goes_on_as_if_never_stopped(before, after, limit):
    uninterrupted = RecentIds(limit)
    for item in before:
        uninterrupted.add(item)
    restored = RecentIds(limit, uninterrupted.snapshot())
    assert [restored.add(item) for item in after] == [uninterrupted.add(item) for item in after]
    assert restored.snapshot() == uninterrupted.snapshot()


def test_asking_for_an_id_does_not_remember_it():
    recent = RecentIds(2)
    assert "a" not in recent
    recent.add("b")
    assert recent.snapshot() == ["b"]
    assert "b" in recent


@given(st.lists(st.lists(st.sampled_from("abcdefgh"))), st.integers(1, 6))
def test_a_batch_of_different_new_ids_is_remembered_as_each_of_them_is(batches, limit):
    together, alone = RecentIds(limit), RecentIds(limit)
    for batch in batches:
        before = together.snapshot()
        if together.add_batch(batch):
            assert [alone.add(item) for item in batch] == [True] * len(batch)
        else:
            assert len(set(batch)) < len(batch) or set(batch) & set(before)
        assert together.snapshot() == alone.snapshot()
