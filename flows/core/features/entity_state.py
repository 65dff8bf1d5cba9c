"""The stored state of one entity: when it expires, its name, and the snapshot of its windows.

The header is read on start-up; the windows are decoded lazily.
"""

from struct import Struct

_HEAD = Struct("<qI")  # when the entity expires (ms), and the length of its name


def pack(name: str, expires: int, windows: bytes) -> bytes:
    """The bytes to store; `windows` is what `EntityFeatures.snapshot` gives.

    >>> stored = pack("origin=JFK", 1357035300000, b"...")
    >>> name_and_expiry(stored), windows(stored)
    (('origin=JFK', 1357035300000), b'...')
    """
    encoded = name.encode()
    return _HEAD.pack(expires, len(encoded)) + encoded + windows


def name_and_expiry(stored: bytes) -> tuple[str, int]:
    """The entity's name, and the event time (ms) from which on it is as one never seen."""
    expires, length = _HEAD.unpack_from(stored)
    return stored[_HEAD.size : _HEAD.size + length].decode(), expires


def windows(stored: bytes) -> bytes:
    """The snapshot of the entity's windows."""
    return stored[_HEAD.size + _HEAD.unpack_from(stored)[1] :]
