"""The streams of the retraining benchmark."""

import pytest

from scripts.benchmarks.retraining.streams import CHANGE, RETURN, TASKS, WIDTH, Change, Task, stream


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_stream_is_the_same_for_the_same_seed_and_another_for_another(task: Task) -> None:
    one, same, other = (stream(task, "abrupt", seed, CHANGE + 100) for seed in (1, 1, 2))
    assert one == same
    assert one.rows != other.rows


def differing(change: Change) -> list[int]:
    """The places where a stream differs from one that does not change."""
    changing, steady = (stream(TASKS[0], each, 1).rows for each in (change, "none"))
    return [place for place, pair in enumerate(zip(changing, steady, strict=False)) if len(set(pair)) > 1]


@pytest.mark.parametrize("change", ["abrupt", "recurring", "noise"])
def test_nothing_changes_before_the_change(change: Change) -> None:
    assert CHANGE - 200 < min(differing(change)) < CHANGE + 200


def test_noise_ends_and_the_concept_is_the_same_again() -> None:
    assert max(differing("noise")) < CHANGE + WIDTH == stream(TASKS[0], "noise", 1).changed


def test_a_recurring_concept_is_back_for_as_long_as_a_stream_is_after_its_change() -> None:
    made = stream(TASKS[0], "recurring", 1)
    assert made.changed == RETURN
    assert len(made.rows) - RETURN == len(stream(TASKS[0], "abrupt", 1).rows) - CHANGE
