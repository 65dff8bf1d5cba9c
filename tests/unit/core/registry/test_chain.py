"""The chain of the registry: an entry that is altered, missing, foreign or repeated is named."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from registry_entries import SEALER, entries, on_topic, written

from flows.core.registry.chain import Break, read_chain
from flows.core.registry.entry import GENESIS, EntrySealer, Link

CHANGES = [("born", "v1"), ("promoted", "v1"), ("born", "v2"), ("promoted", "v2"), ("retired", "v1")]
LOG = on_topic(written(CHANGES))
WHOLE = entries(LOG)


def found(records):
    """Return the numbers of the entries, and the faults."""
    read = list(read_chain(records, SEALER))
    return (
        [each.entry.number for each in read if isinstance(each, Link)],
        [each.fault for each in read if isinstance(each, Break)],
    )


def test_an_entry_refers_to_the_hash_of_the_record_before():
    digests = [GENESIS, *(sha256(record.value).hexdigest() for record in LOG)]
    assert [entry.previous for entry in WHOLE] == digests[:-1]
    assert found(LOG) == ([1, 2, 3, 4, 5], [])


@given(st.integers(0, len(LOG) - 2))
def test_a_missing_entry_is_named_once_and_the_chain_goes_on(index):
    numbers, faults = found(LOG[:index] + LOG[index + 1 :])
    assert numbers == [number for number in range(1, 6) if number != index + 1]
    assert faults == [f"entry {index + 1} is missing before entry {index + 2}"]


def test_several_missing_entries_are_named_together():
    assert found([LOG[0], LOG[4]])[1] == ["entry 2 to 4 is missing before entry 5"]


@given(st.integers(0, len(LOG) - 1), st.data())
def test_a_bit_flip_in_an_entry_or_its_signature_is_refused_and_leaves_a_gap(index, data):
    record = LOG[index]
    header = data.draw(st.booleans())
    content = dict(record.headers)["signature"] if header else record.value
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    if header:
        record = record._replace(headers=(*record.headers[:-1], ("signature", bytes(flipped))))
    else:
        record = record._replace(value=bytes(flipped))
    numbers, faults = found([*LOG[:index], record, *LOG[index + 1 :]])
    assert index + 1 not in numbers
    assert faults[0].startswith("a record of registry entries must be signed with this project's secret")


@given(st.integers(0, len(LOG) - 1), st.integers(0, len(LOG) - 1))
def test_an_entry_that_is_sent_again_is_ignored_and_named(index, again):
    first, second = sorted((index, again))
    numbers, faults = found([*LOG[: second + 1], LOG[first], *LOG[second + 1 :]])
    assert numbers == [1, 2, 3, 4, 5]
    assert faults == [f"entry {first + 1} comes again after entry {second + 1}; it was ignored"]


def test_an_entry_of_another_history_does_not_continue_the_chain():
    other = on_topic(written([("born", "v1"), ("retired", "v1"), ("born", "v2")]))
    numbers, faults = found([*LOG[:2], other[2], *LOG[3:]])
    assert numbers == [1, 2, 3, 4, 5]
    assert faults == [
        "entry 3 refers to another entry 2 than the one before it",
        "entry 4 refers to another entry 3 than the one before it",
    ]


def test_entries_of_another_pipeline_or_secret_are_no_entries():
    for sealer in (
        EntrySealer("other", [b"a secret of thirty-two bytes, ok"]),
        EntrySealer("shop", [b"x" * 32]),
    ):
        read = list(read_chain(LOG, sealer))
        assert [type(each) for each in read] == [Break] * 5
        assert {each.offset for each in read} == {0, 1, 2, 3, 4}
