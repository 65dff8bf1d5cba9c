"""Blocks that never change, in append-only files, for snapshots that refer to them by address."""

import os
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from flows.errors import StateError
from flows.host.files import sync
from flows.host.state_dir import check_trusted, make_private

_FILE_BYTES = 16 * 2**20  # after which the next file begins
_OFFSET_BITS = 40  # of an address; the higher bits are the number of the file
_HEADER = struct.Struct("<II")  # the length and the CRC-32 of a block
_SPARSE = 4  # a file is sparse if fewer than one in so many of its blocks are in use
# A flow resumes from the last epoch that was closed. A file is deleted when the snapshots of so many later
# epochs have not referred to it and so many seconds have passed; a process of a cluster may store one late.
_SNAPSHOTS = 3
_SECONDS = 120.0


class BlockFiles:
    """A `flows.core.block_store.BlockStore` in `directory`, which one process may use at a time.

    No file is written again after a restart, because a crash may have left half a block at its end.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._used: Counter[int] = Counter()  # blocks in use, by the number of the file
        self._written: Counter[int] = Counter()  # blocks known to be in the file
        self._unused: dict[int, tuple[int, float]] = {}  # file: since which snapshot and time it is unused
        self._ends: dict[int, int] = {}  # of files that `blocks` has read, and that were written since
        self._snapshots = 0
        self._number = 0  # of the file that is written
        self._file: BinaryIO | None = None
        self._reader: tuple[int, BinaryIO] | None = None

    def append(self, contents: Sequence[bytes]) -> list[int]:
        """Store blocks durably and return their addresses; raises `StateError`."""
        if not contents:
            return []
        try:
            file = self._writable()
            begin = file.tell()
            headers = [_HEADER.pack(len(content), zlib.crc32(content)) for content in contents]
            file.writelines(part for pair in zip(headers, contents, strict=True) for part in pair)
            file.flush()
            os.fdatasync(file.fileno())
        except OSError as error:
            raise StateError(
                f"the flow's state in {self._directory} cannot be stored: {error.strerror}; make room on its "
                "disk and check that it can be written; the flow then resumes from its last stored state"
            ) from error
        self._count(self._number, len(contents))
        addresses = []
        for content in contents:
            addresses.append(self._number << _OFFSET_BITS | begin)
            begin += _HEADER.size + len(content)
        self._ends[self._number] = begin
        return addresses

    def read(self, address: int) -> bytes:
        """Return a block, and count it as used; raises `StateError` if it is missing or damaged."""
        number, offset = self.file_of(address), address & (1 << _OFFSET_BITS) - 1
        try:
            file = self._readable(number)
            file.seek(offset)
            length, check = _HEADER.unpack(file.read(_HEADER.size))
            content = file.read(length)
        except (OSError, struct.error):
            raise self._lost(number, offset) from None
        if len(content) != length or zlib.crc32(content) != check:
            raise self._lost(number, offset)
        self._count(number, 1)
        return content

    def blocks(self, file: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the address and content of each block of a file up to its offset `end`, and count it as used.

        Raises `StateError` if one is missing or damaged.
        """
        offset, self._ends[file] = 0, end
        while offset < end:
            address = file << _OFFSET_BITS | offset
            content = self.read(address)
            yield address, content
            offset += _HEADER.size + len(content)

    def ends(self) -> dict[int, int]:
        """Return the end of each file that has blocks in use, by its number, in the order of the files."""
        return {number: self._ends[number] for number, used in sorted(self._used.items()) if used > 0}

    def release(self, addresses: Iterable[int]) -> None:
        """Count blocks as not used any more; the snapshots before this one may still refer to them."""
        self._used.subtract(map(self.file_of, addresses))

    def sparse(self) -> frozenset[int]:
        """Return the numbers of the files of which few blocks are in use."""
        return frozenset(
            number
            for number, used in self._used.items()
            if number != self._number and 0 < used * _SPARSE < self._written[number]
        )

    def file_of(self, address: int) -> int:
        """Return the number of the file that holds a block."""
        return address >> _OFFSET_BITS

    def delete_unused(self) -> None:
        """Delete the files that no stored snapshot can refer to; call it once for each snapshot."""
        self._snapshots += 1
        now = time.monotonic()
        for number in self._numbers():
            if self._used[number] > 0 or number == self._number:
                self._unused.pop(number, None)
                continue
            snapshot, since = self._unused.setdefault(number, (self._snapshots, now))
            if self._snapshots - snapshot >= _SNAPSHOTS and now - since >= _SECONDS:
                self._path(number).unlink(missing_ok=True)
                del self._unused[number]
                self._ends.pop(number, None)

    def _count(self, number: int, blocks: int) -> None:
        self._used[number] += blocks
        self._written[number] += blocks

    def _writable(self) -> BinaryIO:
        if self._file is not None and self._file.tell() < _FILE_BYTES:
            return self._file
        if self._file is not None:
            self._file.close()
        make_private(self._directory)
        self._number = max([self._number, *self._used, *self._numbers()]) + 1
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        self._file = os.fdopen(os.open(self._path(self._number), flags, 0o600), "wb")
        sync(self._directory)
        return self._file

    def _readable(self, number: int) -> BinaryIO:
        if self._reader is None or self._reader[0] != number:
            if self._reader is None:
                check_trusted(self._directory)
            else:
                self._reader[1].close()
            self._reader = number, self._path(number).open("rb")
        return self._reader[1]

    def _numbers(self) -> list[int]:
        return [int(file.stem) for file in self._directory.glob("*.blocks")]

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08}.blocks"

    def _lost(self, number: int, offset: int) -> StateError:
        return StateError(
            f"the flow's state refers to a block at {offset} of {self._path(number)}, which is missing or "
            f"damaged; stop the flows, restore the folder {self._directory.parent} from one backup or remove "
            "it, and start them again: the state is made from the topics"
        )
