"""A network backend for httpcore with one deadline for the whole exchange.

HTTP clients apply their timeouts to each wait, so a peer that sends one byte at a time can keep a connection
open indefinitely. With this backend each wait also ends at the deadline.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

from httpcore import NetworkBackend, NetworkStream, SyncBackend


class DeadlineBackend(NetworkBackend):
    """`SyncBackend` whose waits all time out at `deadline`, in seconds of `clock`."""

    def __init__(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._left = _Left(deadline, clock)
        self._backend = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        stream = self._backend.connect_tcp(host, port, self._left(timeout), local_address, socket_options)
        return _DeadlineStream(stream, self._left)


class _DeadlineStream(NetworkStream):
    def __init__(self, stream: NetworkStream, left: "_Left") -> None:
        self._stream = stream
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._left(timeout))
        return _DeadlineStream(stream, self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Left:
    """Limits the timeout of a wait to the seconds left until the deadline."""

    SHORTEST = 0.001  # a timeout of 0 would make the socket non-blocking

    def __init__(self, deadline: float, clock: Callable[[], float]) -> None:
        self._deadline = deadline
        self._clock = clock

    def __call__(self, timeout: float | None) -> float:
        left = max(self.SHORTEST, self._deadline - self._clock())
        return left if timeout is None else min(timeout, left)
