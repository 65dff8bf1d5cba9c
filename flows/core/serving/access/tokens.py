"""Bearer tokens: what each allows. Only their hashes are stored.

A token has 256 random bits, so that a plain SHA-256 of it cannot be inverted by trying.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from flows.core.stream.times import milliseconds
from flows.errors import ConfigError

Scope = Literal["score", "publish", "read", "operate"]
SCOPES: tuple[str, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
RESERVED = ("anonymous", "engine")  # callers without a token, and the learner itself in the registry
PREFIX = "driftline_"  # of each token, by which scanners for secrets find one


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """A token, without its secret; it allows the `scopes` on the `pipelines`, or on all if none is named.

    `created` and `expires` are times (ISO 8601); without `expires` it holds until it is revoked.
    """

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    created: str
    pipelines: tuple[str, ...] = ()
    expires: str | None = None

    def allows(self, scope: Scope, pipeline: str) -> bool:
        """Return whether the token allows the scope on a pipeline."""
        return scope in self.scopes and (not self.pipelines or pipeline in self.pipelines)

    def has_expired(self, now: int) -> bool:
        """Return whether the token has expired at `now` (ms)."""
        return self.expires is not None and milliseconds(self.expires) <= now


class Tokens:
    """The tokens of a server."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self.all = tuple(tokens)
        self._by_hash: Mapping[str, Token] = {token.sha256: token for token in tokens}

    def find(self, secret: str, now: int) -> Token | None:
        """Return the token with this secret, None if there is none or it has expired at `now` (ms)."""
        found = self._by_hash.get(hashed(secret))
        return None if found is None or found.has_expired(now) else found

    def with_token(self, token: Token) -> "Tokens":
        """Return these tokens and another one; raises `ConfigError` for a name that is taken or invalid."""
        if not NAME.fullmatch(token.name) or token.name in RESERVED:
            raise ConfigError(
                "NAME must have 1 to 64 letters, digits, dots, dashes, underscores or @, and must not be "
                f"{' or '.join(RESERVED)}, got {token.name!r}"
            )
        if any(each.name == token.name for each in self.all):
            raise ConfigError(
                f"NAME must be new, got {token.name!r}; revoke the token of that name, or choose another"
            )
        return Tokens((*self.all, token))

    def without(self, name: str) -> "Tokens":
        """Return these tokens without the one of a name; raises `ConfigError` if there is none."""
        left = [token for token in self.all if token.name != name]
        if len(left) == len(self.all):
            known = ", ".join(token.name for token in self.all) or "none"
            raise ConfigError(f"NAME must be the name of a token ({known}), got {name!r}")
        return Tokens(left)

    def to_json(self) -> bytes:
        """Return the content of the file of tokens."""
        return msgspec.json.format(msgspec.json.encode({"tokens": self.all}), indent=2)

    @classmethod
    def from_json(cls, content: bytes) -> "Tokens":
        """Return the tokens of a file; raises `ValueError` for anything that `to_json` did not write."""
        found = msgspec.json.decode(content, type=dict[Literal["tokens"], tuple[Token, ...]])
        for token in found["tokens"]:
            token.has_expired(0)  # raises for an invalid time
        return cls(found["tokens"])


def hashed(secret: str) -> str:
    """Return the hash of a token's secret, in hexadecimal digits.

    >>> hashed("driftline_x")[:12]
    '24bfd6a0cd18'
    """
    return sha256(secret.encode()).hexdigest()


def described(token: Token) -> dict[str, Any]:
    """Return a token as plain data without its hash."""
    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "pipelines": list(token.pipelines),
        "created": token.created,
        "expires": token.expires,
    }
