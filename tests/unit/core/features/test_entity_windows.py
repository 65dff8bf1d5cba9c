"""The windows of one entity as a key of the dataflow: lazily restored, seeded, dropped when idle."""

from flows.core.features.batch import EntityKey
from flows.core.features.by_entity import EntitySteps, IdleCheck
from flows.core.features.entity_windows import EntityWindows
from flows.core.features.idle import IdleIndex
from flows.core.features.plan import Aggregate, FeaturePlan, View

HOUR = 3_600_000
VIEW = View("sales", "shop", "tills", (Aggregate("n", "count", "", HOUR, "int"),))
PLAN = FeaturePlan("s", (VIEW,), lateness=0)
SHOP = EntityKey("shop", "north")


def steps(time: int, *, asked: bool = False) -> EntitySteps:
    """One record at `time`, with or without a question."""
    return EntitySteps("0", 1, SHOP, [(0, time, f"r{time}", (), 0 if asked else -1)])


def count_after(windows: EntityWindows, time: int) -> object:
    (part,) = windows.take([steps(time, asked=True)])
    ((_, answer),) = part.part.answers
    return answer[0]


def test_a_stored_entity_is_known_to_the_index_before_it_is_touched_and_stored_as_it_was() -> None:
    first = EntityWindows(PLAN, IdleIndex(1), None, None)
    first.take([steps(10)])
    stored, idle = first.snapshot(), IdleIndex(1)
    restored = EntityWindows(PLAN, idle, None, stored)
    assert restored.snapshot() == stored
    assert idle.due(10 * HOUR) == [SHOP.name]
    assert count_after(restored, 20) == 2


def test_an_entity_without_a_stored_state_starts_with_that_of_the_seed() -> None:
    first = EntityWindows(PLAN, IdleIndex(1), None, None)
    first.take([steps(10)])
    seed = {SHOP.name: first.snapshot()}
    assert count_after(EntityWindows(PLAN, IdleIndex(1), seed.get, None), 20) == 2
    assert count_after(EntityWindows(PLAN, IdleIndex(1), {}.get, None), 20) == 1


def test_an_idle_entity_expires_and_one_that_is_not_is_checked_again() -> None:
    idle = IdleIndex(1)
    windows = EntityWindows(PLAN, idle, None, None)
    windows.take([steps(10)])
    assert windows.take([IdleCheck(20)]) == []
    assert not windows.expired()
    assert idle.due(10 * HOUR) == [SHOP.name, SHOP.name]  # of the first record, and of the check
    windows.take([IdleCheck(10 * HOUR)])
    assert windows.expired()
    windows.take([steps(10 * HOUR)])
    assert not windows.expired()
