"""The socket that the server listens on."""

import socket
from collections.abc import Callable
from errno import EADDRINUSE

from flows.errors import ConfigError

NEARBY = 10  # ports that `bound_nearby` tries
_WAITING = 2048  # connections
_PORTS = 65_536

Bind = Callable[[str, int], socket.socket]


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address; raises `ConfigError`."""
    try:
        return _listening(host, port)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot serve on {host}:{port} ({error}); set DRIFTLINE_SERVE_PORT to a free port, or to 0 "
            "to have one picked"
        ) from None


def bound_nearby(host: str, port: int) -> socket.socket:
    """Return a socket that listens on this port, or on the next one that is not in use.

    Raises `ConfigError`.
    """
    for candidate in range(port, min(port + NEARBY, _PORTS)):
        try:
            return _listening(host, candidate)
        except OSError as error:
            if error.errno != EADDRINUSE:
                break
    return bound(host, port)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_WAITING)
    except OSError:
        found.close()
        raise
    return found
