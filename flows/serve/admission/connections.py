"""Connections of clients that are slow, or send without end: they are closed, to keep the server free."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_CONNECTIONS = 1024  # at once; more than requests, so that those beyond their limit get an answer


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP connection with limits.

    It ends if the head of a request is not there within `slowest` seconds, if the client takes nothing of an
    answer for so long, or if more than `largest` bytes come that belong to no body: a head, trailers or the
    extensions of chunks, which the parser keeps in memory.
    """

    slowest: ClassVar[float] = 10.0
    largest: ClassVar[int] = 65_536

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._head: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None
        self._is_between = True  # two requests
        self._overhead = 0  # bytes since the last part of a body
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._head = self._end_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        _cancel(self._head)
        _cancel(self._write)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._is_between and self._head is None:
            self._head = self._end_later()
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > self.largest:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Begin to answer the request; its body has limits of its own."""
        _cancel(self._head)
        self._head = None
        self._is_between, self._overhead = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        self._is_between, self._overhead = True, 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Wait until the client takes what was written."""
        if self._write is None:
            self._watch_writing()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Write on."""
        _cancel(self._write)
        self._write = None
        super().resume_writing()

    def _end_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.slowest, self.transport.abort)

    def _watch_writing(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._write = self.loop.call_later(self.slowest, self._check_writing, waiting)

    def _check_writing(self, waited: int) -> None:
        """End the connection unless the client has taken some of the bytes that waited."""
        if self.transport.get_write_buffer_size() < waited:
            self._watch_writing()
        else:
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
