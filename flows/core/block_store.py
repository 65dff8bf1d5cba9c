"""Blocks of a flow's state that never change: a snapshot says where they are in place of their content."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

UNSTORED = 0  # the address of a block that is in no store


class StoredBlock:
    """A block of bytes, and its address in the store."""

    __slots__ = ("address", "content")

    def __init__(self, content: bytes, address: int = UNSTORED) -> None:
        self.content = content
        self.address = address


class BlockStore(Protocol):
    """Blocks by address, in files that are deleted when no stored snapshot can refer to them."""

    def append(self, contents: Sequence[bytes]) -> list[int]:
        """Store blocks durably and return their addresses; raises `StateError`."""

    def read(self, address: int) -> bytes:
        """Return a block, and count it as used; raises `StateError` if it is missing or damaged."""

    def blocks(self, file: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the address and content of each block of a file up to its offset `end`, and count it as used.

        Raises `StateError` if one is missing or damaged.
        """

    def ends(self) -> Mapping[int, int]:
        """Return the end of each file that has blocks in use, by its number, in the order of the files."""

    def release(self, addresses: Iterable[int]) -> None:
        """Count blocks as not used any more; the snapshots before this one may still refer to them."""

    def sparse(self) -> frozenset[int]:
        """Return the numbers of the files of which few blocks are in use."""

    def file_of(self, address: int) -> int:
        """Return the number of the file that holds a block."""

    def delete_unused(self) -> None:
        """Delete the files that no stored snapshot can refer to; call it once for each snapshot."""


def store_blocks(blocks: Sequence[StoredBlock], store: BlockStore) -> None:
    """Store the blocks that have no address; move those of sparse files, which can then be deleted."""
    if sparse := store.sparse():
        moved = [block for block in blocks if block.address and store.file_of(block.address) in sparse]
        store.release([block.address for block in moved])
        for block in moved:
            block.address = UNSTORED
    new = [block for block in blocks if block.address == UNSTORED and block.content]
    for block, address in zip(new, store.append([block.content for block in new]), strict=True):
        block.address = address


def load_blocks(blocks: Iterable[StoredBlock], store: BlockStore) -> None:
    """Read the content of the blocks that have an address; raises `StateError`."""
    for block in blocks:
        if block.address != UNSTORED:
            block.content = store.read(block.address)
