"""Who asks: decided by the token of a request, or on this machine, while there is no token, by its host."""

from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from flows.core.serving.access.requests import Needed
from flows.core.serving.access.tokens import Token, Tokens
from flows.errors import NotAllowed

ANONYMOUS = "anonymous"  # the caller, where no token is required


class Credentials(NamedTuple):
    """What a request says about its caller: its headers `Authorization` and `Host`, "" without one."""

    authorization: str
    host: str


def caller(tokens: Tokens, given: Credentials, wanted: Needed, now: int, *, is_local: bool) -> str:
    """Return who asks at `now` (ms): the name of a token, or `ANONYMOUS`. Raises `NotAllowed`.

    Without any token, a server that `is_local` answers every request but those that operate; then the request
    must name a loopback address as its host, since a page of another site could otherwise reach the server by
    a name of its own.
    """
    if not tokens.all and is_local and wanted.scope != "operate":
        _check_host(given.host)
        return ANONYMOUS
    kind, _, secret = given.authorization.partition(" ")
    if kind.lower() != "bearer":
        raise _unknown("this needs a token: send the header `Authorization: Bearer TOKEN`")
    token = tokens.find(secret.strip(), now)
    if token is None:
        raise _unknown("the token is not known, or it has expired")
    _check_scope(token, wanted)
    return token.name


def _check_scope(token: Token, wanted: Needed) -> None:
    if wanted.scope is not None and not token.allows(wanted.scope, wanted.pipeline):
        on = f" on pipeline {wanted.pipeline!r}" if wanted.pipeline else ""
        raise NotAllowed(
            403,
            f"the token {token.name!r} must have the scope {wanted.scope!r}{on}",
            f'Bearer error="insufficient_scope", scope="{wanted.scope}"',
        )


def _unknown(text: str) -> NotAllowed:
    return NotAllowed(401, text, "Bearer")


@lru_cache(maxsize=256)
def _names_loopback(host: str) -> bool:
    """Return whether the value of the header `Host` names this machine by its loopback address."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _check_host(host: str) -> None:
    if not _names_loopback(host):
        raise NotAllowed(403, f"the header Host must name a loopback address, got {host!r}; or make a token")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its loopback address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("example.org")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
