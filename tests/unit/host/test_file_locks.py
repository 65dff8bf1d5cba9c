"""File locks: mutual exclusion, and release at the end of the block."""

from pathlib import Path
from threading import Event, Thread

from flows.host.file_locks import exclusive_lock, try_exclusive_lock, try_shared_lock


def test_an_exclusive_lock_excludes_all_others_until_its_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with try_exclusive_lock(file) as held:
        assert held
        with try_exclusive_lock(file) as second, try_shared_lock(file) as shared:
            assert (second, shared) == (False, False)
    with try_shared_lock(file) as held:
        assert held


def test_a_lock_is_shared_by_all_but_those_who_want_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with try_shared_lock(file) as first, try_shared_lock(file) as second:
        assert (first, second) == (True, True)
        with try_exclusive_lock(file) as alone:
            assert not alone


def test_a_waiter_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    file, entered = tmp_path / "lock", Event()

    def wait() -> None:
        with exclusive_lock(file):
            entered.set()

    waiter = Thread(target=wait)
    with exclusive_lock(file):
        waiter.start()
        assert not entered.wait(0.1)
    waiter.join(10)
    assert entered.is_set()
