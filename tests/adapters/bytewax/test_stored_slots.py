"""The slots and offsets that a recovery store has."""

import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flows.adapters.bytewax.recovery import prepare
from flows.adapters.bytewax.stored_slots import stored_slots
from flows.errors import StateError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "predict"
    prepare(directory, 2)
    return directory


def keep(store: Path, part: int, *snapshots: tuple[str, str, int, object]) -> None:
    """Store snapshots in a file of the store, as Bytewax does; one that is None was discarded."""
    with closing(sqlite3.connect(store / f"part-{part}.sqlite3")) as database, database:
        for *place, state in snapshots:
            stored = None if state is None else pickle.dumps(state)
            insert = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)"
            database.execute(insert, (*place, stored))


def test_the_newest_offsets_of_each_slot_count_and_sinks_do_as_well(store: Path) -> None:
    keep(
        store, 0, ("predict.records", "0", 1, {"flights/0": 3}), ("predict.records", "0", 2, {"flights/0": 7})
    )
    keep(store, 1, ("predict.records", "1", 2, {"flights/1": 5}), ("predict.publish", "2", 2, {"x/2": 1}))
    keep(store, 1, ("predict.intake", "9", 2, b"of another kind"), ("predict.records", "3", 1, None))
    assert stored_slots(store) == (3, {0: {"flights/0": 7}, 1: {"flights/1": 5}})


def test_a_flow_that_never_ran_has_no_slots(store: Path, tmp_path: Path) -> None:
    assert stored_slots(store) == stored_slots(tmp_path / "nowhere") == (0, {})


def test_a_store_that_is_damaged_is_told_in_a_line(store: Path) -> None:
    (store / "part-0.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(StateError, match=r"state in .* cannot be read: file is not a database"):
        stored_slots(store)


class Attack:
    """Unpickles by a call."""

    def __reduce__(self) -> tuple:
        return print, ("called",)


def test_no_class_or_function_is_called_to_read_offsets(store: Path, capsys: pytest.CaptureFixture) -> None:
    keep(store, 0, ("predict.records", "0", 1, Attack()))
    with pytest.raises(StateError, match=r"cannot be read: a plain state must not refer to builtins\.print"):
        stored_slots(store)
    assert capsys.readouterr().out == ""
