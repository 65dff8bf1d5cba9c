"""The state directory is private, and files that others could have written are not trusted."""

import os
from pathlib import Path

import pytest

from flows.adapters.bytewax import recovery
from flows.errors import ConfigError
from flows.host import state_dir


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_new_folders_are_for_their_owner_only_whatever_the_umask(tmp_path):
    state_dir.make_private(tmp_path / "state" / "deep")
    assert (mode(tmp_path / "state"), mode(tmp_path / "state" / "deep")) == (0o700, 0o700)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    tmp_path.chmod(0o755)
    state_dir.make_private(tmp_path)
    assert mode(tmp_path) == 0o755


@pytest.mark.usefixtures("open_umask")
def test_the_secret_is_made_once_long_synced_and_for_its_owner_only(tmp_path, monkeypatch):
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(state_dir.os, "fsync", lambda handle: (synced.append(handle), fsync(handle)))
    file = tmp_path / "state" / "secret"
    content = state_dir.secret(file)
    assert len(content) == 64
    assert mode(file) == 0o600
    assert len(synced) == 2  # the file, and the folder that names it
    assert state_dir.secret(file) == content
    assert [each.name for each in file.parent.iterdir()] == ["secret"]


@pytest.mark.parametrize("others", [0o640, 0o604, 0o660, 0o602])
def test_a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path, others):
    file = tmp_path / "secret"
    state_dir.secret(file)
    file.chmod(others)
    with pytest.raises(
        ConfigError, match=rf"must be readable by its owner only, got mode {others:04o}; run `chmod 600"
    ):
        state_dir.secret(file)


def test_a_secret_file_that_is_too_short_is_refused(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(b"hunter2")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="must have at least 32 bytes, got 7; make one with `openssl rand"):
        state_dir.secret(file)


@pytest.mark.parametrize("name", ["", "part-0.sqlite3"])
@pytest.mark.parametrize("others", [0o720, 0o702])
def test_a_stored_state_that_others_can_write_is_not_opened(tmp_path, name, others):
    directory = tmp_path / "state" / "predict"
    recovery.prepare(directory, 1)
    (directory / name).chmod(others)
    with pytest.raises(
        ConfigError, match=rf"writable by its owner only, got mode {others:04o}.*can run code"
    ):
        recovery.prepare(directory, 1)
    (directory / name).chmod(0o700)
    recovery.prepare(directory, 1)


def test_a_stored_state_of_another_owner_is_not_opened(tmp_path, monkeypatch):
    directory = tmp_path / "state" / "predict"
    recovery.prepare(directory, 1)
    monkeypatch.setattr(state_dir, "_ROOT", -1)
    monkeypatch.setattr(state_dir.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match=r"must be owned by the user who runs the flows .*can run code"):
        recovery.prepare(directory, 1)


@pytest.mark.usefixtures("open_umask")
def test_a_new_recovery_store_is_its_owner_s_only(tmp_path):
    recovery.prepare(tmp_path / "state" / "predict", 2)
    assert mode(tmp_path / "state" / "predict") == 0o700
    assert mode(tmp_path / "state") == 0o700
