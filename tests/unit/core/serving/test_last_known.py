"""What was last known of the newest ids, in bounded memory."""

import pytest

from flows.core.serving.last_known import LastKnown

LIMIT = 640


@pytest.mark.parametrize("together", [1, 7, 3 * LIMIT])
def test_the_last_ids_are_known_and_few_before_them(together: int) -> None:
    known = LastKnown[int](LIMIT)
    numbers = range(3 * LIMIT)
    for start in numbers[::together]:
        known.add((str(number), number) for number in numbers[start : start + together])
    found = [number for number in numbers if known.get(str(number)) is not None]
    assert found[-LIMIT:] == [*numbers[-LIMIT:]]
    assert len(found) <= 1.02 * LIMIT
    assert found == [*numbers[-len(found) :]]
