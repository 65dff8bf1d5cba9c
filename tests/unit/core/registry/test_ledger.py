"""The ledger: after a crash it takes from the log what it would write again."""

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from registry_entries import SEALER, add, entries, new_ledger, on_topic

from flows.core.registry.ledger import LATE, Moment
from flows.core.registry.registry import Registry, fold

CHANGES = [("born", "v1"), ("promoted", "v1"), ("checkpoint", "v1"), ("born", "v2"), ("promoted", "v2")]


def log():
    ledger = new_ledger()
    return [
        SEALER.open(r) for r in on_topic([r for s, c in enumerate(CHANGES) for r in add(ledger, *c, steps=s)])
    ]


@given(st.integers(0, len(CHANGES)))
def test_what_the_log_has_already_is_not_written_again(stored):
    links = log()
    ledger = new_ledger(Registry(links[:stored]), links[stored:])
    again = [each for steps in range(stored, 5) for each in add(ledger, *CHANGES[steps], steps=steps)]
    assert again == []
    assert ledger.registry.entries == [link.entry for link in links]
    (record,) = add(ledger, "retired", "v1", 9)
    assert entries(on_topic([record]))[0].number == 6
    assert entries(on_topic([record]))[0].previous == links[-1].digest


@given(st.integers(0, len(CHANGES) - 1))
def test_a_learner_that_comes_to_another_entry_reverts_the_rest_of_the_log(stored):
    links = log()
    ledger = new_ledger(Registry(links[:stored]), links[stored:])
    reverted, record = on_topic(add(ledger, "born", "v9", 77))
    assert [entry.number for entry in entries([reverted, record])] == [6, 7]
    registry, breaks = fold([*links, SEALER.open(reverted), SEALER.open(record)])
    assert breaks == []
    assert registry.entries == ledger.registry.entries
    assert [*registry.versions] == [*Registry(links[:stored]).versions, "v9"]


def test_a_log_that_the_learner_does_not_come_to_is_overdue_and_reverted():
    links = log()
    ledger = new_ledger(Registry(links[:2]), links[2:])
    assert ledger.overdue_at == 2 + LATE
    (reverted,) = entries(on_topic(ledger.revert(Moment(0, 0))))
    assert (reverted.change, reverted.figures) == ("reverted", {"to": 2})
    assert ledger.overdue_at == inf
    assert ledger.revert(Moment(0, 0)) == []


MADE = st.sampled_from([("born", "v1"), ("promoted", "v1"), ("born", "v2"), ("refused", "")])
LIVES = st.lists(st.tuples(st.integers(0, 3), st.lists(MADE, max_size=3)), min_size=1, max_size=5)


@settings(max_examples=300)
@given(LIVES)
def test_after_any_crashes_the_log_tells_what_the_last_life_made(lives):
    """Each life begins after some of the entries of the one before, and makes the same or others."""
    written, made, numbers = (
        [],
        [],
        [],
    )  # `numbers`: of the last entry that a state with so many made includes
    for kept, again in lives:
        stored = min(kept, len(made))
        made, number = made[:stored], numbers[stored - 1] if stored else 0
        numbers = numbers[:stored]
        ledger = new_ledger(Registry(written[:number]), written[number:])
        for change in again:
            steps, command = len(made), f"c{len(made)}" if change[0] == "refused" else ""
            records = add(ledger, *change, steps=steps, command=command)
            written += [SEALER.open(record) for record in on_topic(records)]
            made.append((*change, command))
            numbers.append(ledger.registry.chain.number)
        written += [SEALER.open(record) for record in on_topic(ledger.revert(Moment(0, 0)))]
        expected, plain = Registry(), new_ledger()
        for steps, (change, version, command) in enumerate(made):
            for record in on_topic(add(plain, change, version, steps, command=command)):
                expected.add(SEALER.open(record))
        registry, breaks = fold(written)
        assert breaks == []
        for found in (registry, ledger.registry):
            roles = {name: version.role for name, version in found.versions.items()}
            assert roles == {name: version.role for name, version in expected.versions.items()}
            assert (found.champion is None) == (expected.champion is None)
            assert found.champion is None or found.champion.name == expected.champion.name
            assert [found.has_answered(f"c{n}") for n in range(9)] == [
                expected.has_answered(f"c{n}") for n in range(9)
            ]
