"""Ed25519 signatures (RFC 8032, section 5.1), after the reference code of its section 6.

It takes milliseconds, which is enough for one signature per package. Signing is not in constant time: it runs
in a command on the machine that has the secret, never at the request of others.

>>> secret = bytes(32)
>>> verifies(public_key(secret), b"package", sign(secret, b"package"))
True
>>> verifies(public_key(secret), b"another", sign(secret, b"package"))
False
"""

from hashlib import sha512

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # a square root of -1

_Point = tuple[int, int, int, int]  # extended homogeneous coordinates X, Y, Z, T; x = X/Z, y = Y/Z, xy = T/Z


def public_key(secret: bytes) -> bytes:
    """Return the public key of a secret of 32 bytes."""
    scalar, _ = _expanded(secret)
    return _encoded(_times(scalar, _BASE))


def sign(secret: bytes, message: bytes) -> bytes:
    """Return the signature of a message, 64 bytes."""
    scalar, prefix = _expanded(secret)
    nonce = _number(prefix + message) % _ORDER
    commitment = _encoded(_times(nonce, _BASE))
    challenge = _number(commitment + _encoded(_times(scalar, _BASE)) + message) % _ORDER
    return commitment + ((nonce + challenge * scalar) % _ORDER).to_bytes(32, "little")


def verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a signature was made with the secret of this public key for this message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    point, commitment = _decoded(public), _decoded(signature[:32])
    response = int.from_bytes(signature[32:], "little")
    if point is None or commitment is None or response >= _ORDER:
        return False
    challenge = _number(signature[:32] + public + message) % _ORDER
    return _equal(_times(response, _BASE), _sum(commitment, _times(challenge, point)))


def _expanded(secret: bytes) -> tuple[int, bytes]:
    if len(secret) != 32:
        raise ValueError(f"a secret must be 32 bytes, got {len(secret)}")
    hashed = sha512(secret).digest()
    scalar = int.from_bytes(hashed[:32], "little")
    return scalar & ((1 << 254) - 8) | (1 << 254), hashed[32:]


def _number(content: bytes) -> int:
    return int.from_bytes(sha512(content).digest(), "little")


def _sum(first: _Point, second: _Point) -> _Point:
    a = (first[1] - first[0]) * (second[1] - second[0]) % _P
    b = (first[1] + first[0]) * (second[1] + second[0]) % _P
    c, d = 2 * first[3] * second[3] * _D % _P, 2 * first[2] * second[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(factor: int, point: _Point) -> _Point:
    total: _Point = (0, 1, 1, 0)
    while factor > 0:
        if factor & 1:
            total = _sum(total, point)
        point = _sum(point, point)
        factor >>= 1
    return total


def _equal(first: _Point, second: _Point) -> bool:
    same_x = (first[0] * second[2] - second[0] * first[2]) % _P == 0
    return same_x and (first[1] * second[2] - second[1] * first[2]) % _P == 0


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decoded(encoded: bytes) -> _Point | None:
    y = int.from_bytes(encoded, "little")
    odd, y = y >> 255, y & ((1 << 255) - 1)
    x = _x_of(y, odd)
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, odd: int) -> int | None:
    """Return the x of a point; None if there is no such point or y is not its usual form."""
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if square == 0:
        return None if odd else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P:
        return None
    return _P - x if x & 1 != odd else x


_BASE_Y = 4 * pow(5, -1, _P) % _P
_BASE_X = _x_of(_BASE_Y, 0) or 0
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
