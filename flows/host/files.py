"""Atomic replacement of files, and durability."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path, unfinished: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path to write; when the block ends, flush it to the disk and rename it to `file`.

    `unfinished` is the temporary path, by default `file` with the suffix ".tmp" added. If the block raises or
    the disk is full, the temporary file is removed and `file` stays as it was. Call `sync` on the folder
    afterwards if the rename must survive a power failure.
    """
    if unfinished is None:
        unfinished = file.with_name(f"{file.name}.tmp")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
