"""The stored state of one entity: a header with its expiry and name, and the snapshot of its windows.

The header is read on start-up; the windows are decoded lazily. The format is part of
`flows.core.stored_format.STATE`, which the recovery store and the seed name.
"""

from struct import Struct

_HEAD = Struct("<qI")  # expiry (ms of event time), bytes of the name


def pack(name: str, expires: int, windows: bytes) -> bytes:
    """Return the bytes to store; `windows` is the result of `EntityFeatures.snapshot`.

    >>> stored = pack("origin=JFK", 1357035300000, b"...")
    >>> name_and_expiry(stored), windows(stored)
    (('origin=JFK', 1357035300000), b'...')
    """
    encoded = name.encode()
    return _HEAD.pack(expires, len(encoded)) + encoded + windows


def name_and_expiry(stored: bytes) -> tuple[str, int]:
    """Return the entity's name, and the event time (ms) at which its state expires."""
    expires, length = _HEAD.unpack_from(stored)
    return stored[_HEAD.size : _HEAD.size + length].decode(), expires


def windows(stored: bytes) -> bytes:
    """Return the snapshot of the entity's windows."""
    return stored[_HEAD.size + _HEAD.unpack_from(stored)[1] :]
