"""The windows of a shard's entities: stored as they change, lazily restored, seeded, dropped when idle."""

from pathlib import Path

import pytest

from flows.core.features.batch import EntityKey
from flows.core.features.by_shard import ShardSteps
from flows.core.features.entity_shard import EntityShard, SeededState, Shards, stored_shards
from flows.core.features.plan import Aggregate, FeaturePlan, View
from flows.host import block_files
from flows.host.block_files import BlockFiles

HOUR = 3_600_000
VIEW = View("sales", "shop", "tills", (Aggregate("n", "count", "", HOUR, "int"),))
PLAN = FeaturePlan("s", (VIEW,), lateness=0)
NORTH, SOUTH = "north", "south"


class Run:
    """A shard whose store is in `folder`, between two restarts."""

    def __init__(self, folder: Path, stored: bytes | None = None, seed: SeededState | None = None) -> None:
        self.shard = EntityShard(PLAN, Shards(2, lambda _: BlockFiles(folder)), seed, stored)

    def sell(self, time: int, *shops: str) -> list[object]:
        """Add a record to each shop, and return how many each has within the hour."""
        steps = [(EntityKey("shop", shop), [(0, time, f"{shop}{time}", (), 0)]) for shop in shops]
        [(_, _, parts)] = self.shard.take([ShardSteps(1, "0", 1, time, steps)])
        return [answer[0] for part in parts for _, answer in part.answers]


def restarted(run: Run, folder: Path) -> Run:
    return Run(folder, run.shard.snapshot())


def test_a_snapshot_has_all_entities_and_appends_only_those_that_changed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.sell(10, NORTH, SOUTH)
    run.shard.snapshot()
    [file] = tmp_path.iterdir()
    both = file.stat().st_size
    run.sell(20, NORTH)
    again = restarted(run, tmp_path)
    assert both < file.stat().st_size < 2 * both
    assert len(again.shard) == 2
    assert again.sell(30, NORTH, SOUTH) == [3, 2]


def test_an_older_snapshot_restores_the_entities_as_they_were_then(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.sell(10, NORTH)
    stored = run.shard.snapshot()
    run.sell(20, NORTH, SOUTH)
    run.shard.snapshot()
    again = Run(tmp_path, stored)
    assert again.sell(30, NORTH, SOUTH) == [2, 1]
    assert restarted(again, tmp_path).sell(40, NORTH, SOUTH) == [3, 2]


def test_an_entity_without_a_stored_state_starts_with_that_of_the_seed(tmp_path: Path) -> None:
    first = Run(tmp_path / "first")
    first.sell(10, NORTH)
    first.shard.snapshot()
    [(_, state)] = BlockFiles(tmp_path / "first").blocks(1, 1)
    seeded = Run(tmp_path / "seeded", seed={"shop=north": state}.get)
    assert seeded.sell(20, NORTH, SOUTH) == [2, 1]


def test_an_idle_entity_is_dropped_also_after_a_restart(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.sell(10, NORTH, SOUTH)
    run.sell(20, SOUTH)
    again = restarted(run, tmp_path)
    for each in (run, again):
        assert each.sell(11 + HOUR, SOUTH) == [2]
        assert len(each.shard) == 1
        assert len(restarted(each, tmp_path).shard) == 1


def test_files_that_are_hardly_used_are_emptied_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_files, "_FILE_BYTES", 1000)
    monkeypatch.setattr(block_files, "_SECONDS", 0.0)
    run = Run(tmp_path)
    run.sell(0, "rarely")
    for time in range(1, 500):
        run.sell(time, NORTH)
        stored = run.shard.snapshot()
    assert len(list(tmp_path.iterdir())) < 15
    assert Run(tmp_path, stored).sell(500, "rarely", NORTH) == [2, 500]


def test_a_snapshot_tells_the_number_of_shards(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.sell(10, NORTH)
    assert stored_shards(run.shard.snapshot()) == 2
