"""Block files: what a snapshot refers to is there, whole or refused, and what none refers to is deleted."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core.block_store import UNSTORED, StoredBlock, load_blocks, store_blocks
from flows.errors import ConfigError, StateError
from flows.host import block_files as module
from flows.host.block_files import BlockFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "learn.blocks"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are small, and deleted as soon as enough snapshots were taken."""
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    monkeypatch.setattr(module, "_FILE_BYTES", 20)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@given(st.lists(st.lists(st.binary(max_size=50), max_size=4), max_size=5))
def test_each_address_is_that_of_its_block_also_after_a_restart(tmp_path_factory, batches):
    folder = tmp_path_factory.mktemp("blocks")
    files = BlockFiles(folder)
    stored = [pair for batch in batches for pair in zip(files.append(batch), batch, strict=True)]
    assert UNSTORED not in dict(stored)
    for each in (files, BlockFiles(folder)):
        assert [(address, each.read(address)) for address, _ in stored] == stored


def test_a_restart_writes_to_another_file_since_the_last_block_may_be_half_written(folder):
    (first,) = BlockFiles(folder).append([b"one"])
    with (folder / "00000001.blocks").open("ab") as file:
        file.write(b"half a blo")
    again = BlockFiles(folder)
    (second,) = again.append([b"two"])
    assert names(folder) == ["00000001.blocks", "00000002.blocks"]
    assert [again.read(first), again.read(second)] == [b"one", b"two"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:-1] + b"x", lambda b: b[:3], lambda _: b""]
)
def test_a_damaged_block_is_refused_with_what_to_do(folder, damage):
    (address,) = BlockFiles(folder).append([b"content"])
    file = folder / "00000001.blocks"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(
        StateError, match=r"block at 0 of .*00000001.blocks, which is missing or damaged; stop"
    ):
        BlockFiles(folder).read(address)


def test_a_missing_file_is_refused(folder):
    (address,) = BlockFiles(folder).append([b"content"])
    (folder / "00000001.blocks").unlink()
    with pytest.raises(StateError, match="missing or damaged"):
        BlockFiles(folder).read(address)


def test_a_file_that_another_user_could_have_written_is_refused(folder):
    (address,) = BlockFiles(folder).append([b"content"])
    (folder / "00000001.blocks").chmod(0o666)
    with pytest.raises(ConfigError, match="writable by its owner only"):
        BlockFiles(folder).read(address)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_state(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be stored"):
        BlockFiles(tmp_path / "file").append([b"content"])


@pytest.mark.usefixtures("at_once")
def test_a_file_is_deleted_three_snapshots_after_the_last_one_that_referred_to_it(folder):
    files = BlockFiles(folder)
    address, _ = files.append([b"a" * 20, b"b"])
    (other,) = files.append([b"c" * 20])
    files.append([b"d"])
    files.release([address])
    for _ in range(9):
        files.delete_unused()
    assert names(folder) == ["00000001.blocks", "00000002.blocks", "00000003.blocks"]
    files.release([other])
    for _ in range(3):
        files.delete_unused()
    assert len(names(folder)) == 3
    files.delete_unused()
    assert names(folder) == ["00000001.blocks", "00000003.blocks"]


def test_the_blocks_of_a_file_are_those_before_its_end_at_some_time(folder):
    files = BlockFiles(folder)
    addresses = files.append([b"a", b"bb"])
    [(file, end)] = files.ends().items()
    files.append([b"later"])
    again = BlockFiles(folder)
    assert list(again.blocks(file, end)) == list(zip(addresses, [b"a", b"bb"], strict=True))
    assert again.ends() == {file: end}
    again.release(addresses)
    assert again.ends() == {}


def test_a_file_that_ends_before_its_last_block_is_refused(folder):
    files = BlockFiles(folder)
    files.append([b"content"])
    [(file, end)] = files.ends().items()
    with pytest.raises(StateError, match="missing or damaged"):
        list(BlockFiles(folder).blocks(file, end + 1))


def test_a_file_is_kept_for_two_minutes_however_many_snapshots_are_taken(folder, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    BlockFiles(folder).append([b"content"])
    files = BlockFiles(folder)
    for _ in range(9):
        files.delete_unused()
    now[0] = 119.0
    files.delete_unused()
    assert names(folder) == ["00000001.blocks"]
    now[0] = 120.0
    files.delete_unused()
    assert names(folder) == []


@pytest.mark.usefixtures("at_once")
def test_after_a_restart_files_that_nothing_refers_to_are_deleted_and_their_numbers_not_used_again(folder):
    files = BlockFiles(folder)
    (kept,) = files.append([b"kept" * 5])
    files.append([b"forgotten"])
    files = BlockFiles(folder)
    assert files.read(kept) == b"kept" * 5
    (added,) = files.append([b"added"])
    for _ in range(4):
        files.delete_unused()
    assert names(folder) == ["00000001.blocks", "00000003.blocks"]
    assert files.read(added) == b"added"


@pytest.mark.usefixtures("at_once")
def test_blocks_of_a_file_that_is_hardly_used_move_to_the_current_one(folder):
    files = BlockFiles(folder)
    blocks = [StoredBlock(bytes([number]) * 9) for number in range(9)]
    store_blocks(blocks, files)
    rest = blocks[:2]
    files.release([block.address for block in blocks[2:]])
    rest.append(StoredBlock(b"new"))
    store_blocks(rest, files)  # begins the second file, so that the first one is not the current one
    store_blocks(rest, files)
    assert {files.file_of(block.address) for block in rest} == {2}
    for _ in range(4):
        files.delete_unused()
    assert names(folder) == ["00000002.blocks"]
    restored = [StoredBlock(b"", block.address) for block in rest]
    load_blocks(restored, BlockFiles(folder))
    assert [block.content for block in restored] == [bytes([0]) * 9, bytes([1]) * 9, b"new"]
