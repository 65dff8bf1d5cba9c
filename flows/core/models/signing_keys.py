"""Signing keys, one for each purpose, derived from the project's secret by HKDF-SHA256 (RFC 5869).

A signature for one purpose does not verify for another, so a flow state is never accepted as a model.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

_HASH_BYTES = 32


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int = _HASH_BYTES) -> bytes:
    """Return `length` bytes derived from `secret` for `info`.

    >>> hkdf_sha256(b"secret", b"", b"models") == hkdf_sha256(b"secret", b"", b"states")
    False
    """
    pseudorandom = hmac.digest(salt or bytes(_HASH_BYTES), secret, "sha256")
    output, block, number = b"", b"", 0
    while len(output) < length:
        number += 1
        block = hmac.digest(pseudorandom, block + info + bytes([number]), "sha256")
        output += block
    return output[:length]


class SigningKey:
    """Signs and verifies for one purpose with HMAC-SHA256."""

    SIZE = sha256().digest_size  # bytes of a signature

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._key = hkdf_sha256(secret, b"driftline", purpose.encode())

    def sign(self, content: bytes) -> bytes:
        """Return the signature of `content`."""
        return hmac.digest(self._key, content, "sha256")

    def verifies(self, content: bytes, signature: bytes) -> bool:
        """Return whether `signature` was made with this key for this content."""
        return hmac.compare_digest(self.sign(content), signature)


class KeyRing:
    """The keys for one purpose during a rotation: the current secret signs, and former ones verify too.

    >>> old, new = KeyRing([b"old"], "models"), KeyRing([b"new", b"old"], "models")
    >>> new.verifies(b"model", old.sign(b"model")), old.verifies(b"model", new.sign(b"model"))
    (True, False)
    """

    def __init__(self, secrets: Sequence[bytes], purpose: str) -> None:
        self._keys = [SigningKey(secret, purpose) for secret in secrets]

    def sign(self, content: bytes) -> bytes:
        """Return the signature of `content` with the current key."""
        return self._keys[0].sign(content)

    def verifies(self, content: bytes, signature: bytes) -> bool:
        """Return whether `signature` was made with one of the keys for this content."""
        return any(key.verifies(content, signature) for key in self._keys)
