"""A small file system that a test can fill."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import NOT_TESTED


class SmallDisk:
    """A file system of 32 MiB at `path`, which a test can fill."""

    SIZE = 32 * 2**20

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, leave: int = 0) -> None:
        """Fill the disk except for `leave` bytes."""
        self.make_room()
        used = shutil.disk_usage(self.path).used
        self._filler.write_bytes(bytes(self.SIZE - used - leave))

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mount a small disk over the directory, with its content; skip where mounting is not permitted."""
    path.mkdir(parents=True, exist_ok=True)
    held = path.rename(path.with_name(f"{path.name}.held"))
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SmallDisk.SIZE}", "tmpfs", path]
    try:
        outcome = subprocess.run(mount, capture_output=True, text=True)
        refusal = outcome.stderr.strip() if outcome.returncode else ""
    except OSError as error:
        refusal = str(error)
    if refusal:
        pytest.skip(f"{NOT_TESTED}a full disk, since no small one can be mounted here: {refusal}")
    try:
        shutil.copytree(held, path, dirs_exist_ok=True)
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
