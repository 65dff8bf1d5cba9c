"""Removal of the unfinished snapshots that a crash leaves in Bytewax's recovery store."""

import os
import pickle
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulLogic
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main
from bytewax.testing import TestingSink

from flows.adapters.bytewax.recovery import FORMAT_FILE, forget_unfinished, prepare
from flows.adapters.bytewax.stored_slots import stored_slots
from flows.errors import ConfigError

Items = Iterable[list[str]]


class Numbers(FixedPartitionedSource):
    """A source that emits the given lists, one per epoch, and resumes from its state."""

    def __init__(self, batches: Items) -> None:
        self._batches = batches

    def list_parts(self) -> list[str]:
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "Part":
        return Part(iter(self._batches), resume_state or 0)


class Part(StatefulSourcePartition):
    def __init__(self, batches, taken: int) -> None:
        self._batches = batches
        self._taken = taken

    def next_batch(self) -> list[tuple[str, str]]:
        batch = next(self._batches)
        self._taken += len(batch)
        return [("key", item) for item in batch]

    def snapshot(self) -> int:
        return self._taken


class Crash(Exception):
    pass


def execution(directory: Path, batches: Items) -> list[str]:
    """Run a flow whose only state is its whole input; return the state at its start."""
    resumed: list[str] = []

    class All(StatefulLogic):
        def __init__(self, state: list[str] | None) -> None:
            resumed[:] = state or []
            self.state = state or []

        def on_item(self, item: str) -> tuple[list, bool]:
            if item == "crash":
                raise Crash
            self.state = [*self.state, item]
            return [], False

        def snapshot(self) -> list[str]:
            return self.state

    flow = Dataflow("flow")
    items = op.stateful("all", op.input("numbers", flow, Numbers(batches)), All)
    op.output("out", items, TestingSink([]))
    recovery = RecoveryConfig(directory)
    cli_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    return resumed


def crashed(directory: Path, batches: Items) -> None:
    """Run the same without the end of the last epoch."""
    with suppress(BytewaxRuntimeError):
        execution(directory, [*batches, ["crash"]])


def leave_unfinished(directory: Path, state: list[str], beyond: int) -> None:
    """Write the snapshot that a crash leaves before its epoch ends."""
    with closing(sqlite3.connect(directory / "part-0.sqlite3")) as part, part:
        (frontier,) = part.execute("SELECT max(worker_frontier) FROM fronts").fetchone()
        part.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
            ("flow.all.stateful_batch", "key", frontier + beyond, pickle.dumps(state)),
        )


def twice_resumed(directory: Path, mend: Callable[[Path], None]) -> list[str]:
    """Return the state after a crash that left a snapshot, an idle execution, and another start."""
    prepare(directory, 1)
    execution(directory, [["a"], ["b"]])
    leave_unfinished(directory, ["a", "b", "never finished"], beyond=2)
    mend(directory)
    crashed(directory, [["c"], *[[]] * 8])
    mend(directory)
    return execution(directory, [["d"]])


def test_a_snapshot_of_an_epoch_that_did_not_finish_is_never_resumed_from(tmp_path: Path) -> None:
    assert twice_resumed(tmp_path / "state", forget_unfinished) == ["a", "b", "c"]


def test_bytewax_itself_takes_it_for_the_state(tmp_path: Path) -> None:
    """If this fails, Bytewax has fixed it, and `forget_unfinished` can be removed."""
    assert twice_resumed(tmp_path / "state", lambda _: None) == ["a", "b", "never finished"]


def test_what_was_finished_stays(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    prepare(directory, 3)
    for items in (["a"], ["b"], ["c"]):
        execution(directory, [items])
        prepare(directory, 3)
    assert execution(directory, [["d"]]) == ["a", "b", "c"]


def test_after_a_crash_the_last_finished_epoch_stays(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    prepare(directory, 1)
    crashed(directory, [["a"], ["b"], []])
    prepare(directory, 1)
    assert execution(directory, [["c"]]) == ["a", "b"]


@pytest.mark.parametrize("found", [None, "", "driftline-state/1", "driftline-state/6", "x" * 1000])
def test_a_store_of_another_format_is_neither_changed_nor_read(tmp_path: Path, found: str | None) -> None:
    directory = tmp_path / "state" / "predict"
    prepare(directory, 1)
    part, file = directory / "part-0.sqlite3", directory / FORMAT_FILE
    before = part.read_bytes()
    file.unlink() if found is None else file.write_text(found)
    for use in (lambda: prepare(directory, 1), lambda: stored_slots(directory)):
        with pytest.raises(ConfigError) as refused:
            use()
        said = str(refused.value)
        assert "must be of format driftline-state/7, got " in said
        assert said.endswith(
            f"; stop the flows, remove the folder {directory.parent}, and start them again: the state is "
            "made from the topics"
        )
        assert len(said) < 500 + 2 * len(str(directory))
    assert part.read_bytes() == before


def test_the_format_of_a_store_is_no_one_else_s_to_write(tmp_path: Path) -> None:
    """Also where the umask lets the group write."""
    before = os.umask(0o002)
    try:
        prepare(tmp_path / "predict", 1)
        prepare(tmp_path / "predict", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "predict" / FORMAT_FILE).stat().st_mode & 0o777 == 0o600
