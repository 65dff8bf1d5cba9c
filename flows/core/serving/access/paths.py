"""Paths of requests: split at their slashes and decoded afterwards, so that a segment may hold any text.

`%2F` is a slash within a segment, and dots mean nothing: `..` is a segment like any other.
"""

import re
from urllib.parse import quote, unquote_to_bytes

from flows.errors import InvalidRequest

_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_LITERAL = "!$&'()*+,;=:@"  # beside letters, digits and -._~ (RFC 3986, pchar)
_CANONICAL = re.compile(rf"[A-Za-z0-9\-._~/{re.escape(_LITERAL)}]*")


def segment(encoded: str) -> str:
    """Return the text of a percent-encoded segment; raises `InvalidRequest`.

    >>> segment("a%2Fb%20c")
    'a/b c'
    """
    if "%" not in encoded:
        return encoded
    if _NO_ESCAPE.search(encoded):
        raise InvalidRequest(
            f"in a path, % must be followed by two hexadecimal digits, got {encoded!r:.100}; write %25 for it"
        )
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"a path must be percent-encoded UTF-8, got {encoded!r:.100}") from None


def encoded_segment(text: str) -> str:
    """Return the one way in which `canonical` writes a segment.

    >>> encoded_segment("a/b c")
    'a%2Fb%20c'
    """
    return quote(text, safe=_LITERAL)


def canonical(raw: str) -> str:
    """Return a path with each segment encoded in one way; raises `InvalidRequest`.

    >>> canonical("/v1/%66lights/predictions/a%2fb")
    '/v1/flights/predictions/a%2Fb'
    """
    if _CANONICAL.fullmatch(raw):
        return raw
    return "/".join(encoded_segment(segment(part)) for part in raw.split("/"))
