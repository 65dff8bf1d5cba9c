"""Child processes: their exit codes and signals, and that they end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from harness import wait_until

from flows.host.children import Children

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not fork")
FORKS = """
import sys, time
from pathlib import Path
from flows.host.children import Children

def idle(folder, name):
    (folder / name).touch()
    time.sleep(600)
    return 0

children = Children()
started = [children.start(name, idle, Path(sys.argv[1]), name) for name in ("first", "second")]
print(*(process.pid for process in started), flush=True)
time.sleep(600)
"""

NEVER_DRAINS = """
import os, signal, time
from flows.host import children

def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    time.sleep(600)
    return 0

children.GRACE = 0.2
started = children.Children()
started.start("deaf", deaf)
time.sleep(600)
"""


def ends_with(code: int) -> int:
    return code


def touch_and_wait(file: Path) -> int:
    file.touch()
    time.sleep(600)
    return 0


def report(file: Path) -> int:
    comm = Path("/proc/self/comm").read_text().strip()
    file.write_text(f"{comm} {os.getpgid(0) == os.getpid()}")
    return 0


def is_alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_exit_code_is_what_the_function_returns(code: int) -> None:
    assert Children().run("child", ends_with, code) == code


@linux_only
def test_a_child_has_its_name_and_a_process_group_of_its_own(tmp_path: Path) -> None:
    Children().run("predict-1", report, tmp_path / "said")
    assert (tmp_path / "said").read_text() == "predict-1 True"


def test_a_signal_is_not_lost_to_the_handler_of_the_parent(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        children = Children()
        at_once = children.start("child", touch_and_wait, tmp_path / "first")
        at_once.terminate()
        later = children.start("child", touch_and_wait, tmp_path / "second")
        wait_until((tmp_path / "second").exists, 60)
        later.terminate()
        for process in (at_once, later):
            process.join(60)
            assert process.exitcode == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


@linux_only
def test_all_children_get_sigterm_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", FORKS, tmp_path], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        wait_until(lambda: all((tmp_path / name).exists() for name in ("first", "second")), 60)
        assert all(map(is_alive, pids))
        parent.kill()
    wait_until(lambda: not any(map(is_alive, pids)), 60)


def test_a_process_with_a_thread_does_not_fork_and_its_children_run_none_the_less() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        children = Children()
        assert children.run("child", ends_with, 3) == 3
    finally:
        end.set()
        thread.join()
    assert children._context.get_start_method() == "spawn"


@linux_only
def test_a_child_that_does_not_drain_after_the_death_of_its_parent_ends_all_the_same() -> None:
    with subprocess.Popen([sys.executable, "-c", NEVER_DRAINS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not is_alive(child), 10)
