"""The count of dead letters by reason."""

from flows.core.stream.dead_tally import Dead, DeadTally


def dead(offset: int, reason: str) -> Dead:
    return Dead("flights", 0, offset, reason, "detail")


def test_each_reason_has_its_number_and_its_first_record():
    tally = DeadTally()
    for offset, reason in enumerate(("late", "invalid", "late")):
        tally.add(dead(offset, reason))
    assert tally.number == {"late": 2, "invalid": 1}
    assert tally.first == {"late": dead(0, "late"), "invalid": dead(1, "invalid")}
    assert tally.total == 3


def test_the_first_error_of_the_users_code_is_kept():
    tally, first = DeadTally(), ValueError("first")
    tally.failed(first)
    tally.failed(ValueError("second"))
    assert tally.error is first
