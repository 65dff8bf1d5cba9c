"""Record headers as one blob of the embedded log."""

import struct
from collections.abc import Iterator

from flows.core.stream.broker import Headers

_NO_LENGTH = 2**32 - 1
_NULL = struct.pack("<I", _NO_LENGTH)


def pack_headers(headers: Headers) -> bytes:
    """Return names and values, each after its length in four bytes; a null value has a reserved length.

    >>> unpack_headers(pack_headers((("trace", b"1"), ("empty", b""), ("null", None))))
    (('trace', b'1'), ('empty', b''), ('null', None))
    """
    fields = [field for name, value in headers for field in (name.encode(), value)]
    return b"".join(_NULL if field is None else struct.pack("<I", len(field)) + field for field in fields)


def unpack_headers(packed: bytes) -> Headers:
    """Return the headers that `pack_headers` packed."""
    fields = list(_fields(packed))
    return tuple(
        ((name or b"").decode(), value) for name, value in zip(fields[::2], fields[1::2], strict=True)
    )


def _fields(packed: bytes) -> Iterator[bytes | None]:
    at = 0
    while at < len(packed):
        (size,) = struct.unpack_from("<I", packed, at)
        at += 4
        if size == _NO_LENGTH:
            yield None
        else:
            at += size
            yield packed[at - size : at]
