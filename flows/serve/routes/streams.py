"""Server-sent events: the records of a topic as they arrive, resumable by the id of the last one."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from flows.core.stream.broker import Broker, Record, TopicPartition
from flows.errors import BrokerError, InvalidRequest
from flows.jobs.tail import readable
from flows.serve.problems import Problem, error_response, retry_later
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

MOST_STREAMS = 32  # at once; each has a thread
LONGEST = 3600.0  # seconds of one stream; then the client asks again, with its token
_KEEP_ALIVE = 15.0  # seconds without an event
_AT_ONCE = 100  # records
_POLL = 0.5  # seconds

Kind = Literal["predictions", "metrics", "drift", "registry"]
From = Annotated[
    Literal["start", "end"],
    Query(
        alias="from", description="Where to begin without Last-Event-ID: with the first record, or new ones."
    ),
]
LastId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The id of the last event received.")
]

_Offsets = Mapping[TopicPartition, int]


class Streams:
    """The open streams of the server; `end` ends all of them."""

    def __init__(self) -> None:
        self._count = 0
        self._ended = threading.Event()

    def end(self) -> None:
        """End every stream, so that the server can stop."""
        self._ended.set()

    def routes(self, pipelines: ServedPipelines) -> APIRouter:
        """Return the routes of the streams."""
        routes = APIRouter(prefix="/v1/{pipeline:segment}/streams", tags=["Streams"])

        @routes.get("/{kind:segment}", summary="The records of a topic as server-sent events")
        async def stream(
            pipeline: str, kind: Kind, begin: From = "end", last_event_id: LastId = None
        ) -> Response:
            served = pipelines[pipeline]
            offsets = await run_in_threadpool(_start, served, kind, begin, last_event_id)
            return _Events(self, self._events(served, kind, offsets))

        return routes

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a stream for the block; raises a `Problem` if too many are open."""
        if self._count >= MOST_STREAMS:
            raise retry_later(f"{MOST_STREAMS} streams are open")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def _events(self, served: ServedPipeline, kind: str, offsets: _Offsets) -> AsyncIterator[bytes]:
        """Yield the events until the client goes, the hour is over or the server stops."""
        reader = _Reader(served, kind, offsets, asyncio.get_running_loop())
        end, silent_since = time.monotonic() + LONGEST, time.monotonic()
        try:
            yield b": the stream is open\n\n"
            while time.monotonic() < end and not self._ended.is_set():
                chunk = await reader.next(_POLL)
                if chunk is None:
                    return
                if chunk:
                    silent_since = time.monotonic()
                    yield chunk
                elif time.monotonic() - silent_since > _KEEP_ALIVE:
                    silent_since = time.monotonic()
                    yield b": alive\n\n"
        finally:
            reader.stop()


class _Events(StreamingResponse):
    """A stream as an answer, which takes a place before it begins."""

    def __init__(self, streams: Streams, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._streams.place():
                await super().__call__(scope, receive, send)
        except Problem as problem:
            await error_response(problem.status, str(problem), problem.headers)(scope, receive, send)


class _Reader:
    """Reads a topic in a thread, no faster than its events are sent."""

    def __init__(
        self, served: ServedPipeline, kind: str, offsets: _Offsets, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._served = served
        self._kind = kind
        self._offsets = dict(offsets)
        self._loop = loop
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name=f"stream of {kind}", daemon=True).start()

    async def next(self, seconds: float) -> bytes | None:
        """Return the next events, nothing if none came in time, and None at the end."""
        try:
            return await asyncio.wait_for(self._queue.get(), seconds)
        except TimeoutError:
            return b""

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            with closing(self._served.engine.open_broker()) as broker:
                self._follow(broker)
        except BrokerError:
            self._put(None)  # the client connects again, and gets the error if the broker is still away

    def _follow(self, broker: Broker) -> None:
        with closing(broker.consumer("driftline.serve", self._offsets)) as consumer:
            while not self._stopped.is_set():
                if records := consumer.poll(_AT_ONCE, _POLL):
                    self._put(b"".join(map(self._event, records)))

    def _event(self, record: Record) -> bytes:
        """Return a record as an event; its id has the next offset of each partition."""
        self._offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        value = orjson.dumps(readable(record, self._served.names)["value"])
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (_id(self._offsets).encode(), self._kind.encode(), value)

    def _put(self, chunk: bytes | None) -> None:
        """Wait until there is room for the events, or the client is gone."""
        sent = asyncio.run_coroutine_threadsafe(self._queue.put(chunk), self._loop)
        while not self._stopped.is_set():
            try:
                sent.result(_POLL)
            except TimeoutError:
                continue
            return
        sent.cancel()


def _start(served: ServedPipeline, kind: str, begin: str, last_id: str | None) -> _Offsets:
    """Return where a stream begins; raises `InvalidRequest`."""
    topic = served.pipeline.topic(kind)
    with closing(served.engine.open_broker()) as broker:
        bounds = broker.offsets(topic)
    if last_id is None:
        starts = [first if begin == "start" else end for first, end in bounds]
    else:
        starts = _parsed(last_id, bounds)
    return {TopicPartition(topic, number): start for number, start in enumerate(starts)}


def _id(offsets: _Offsets) -> str:
    return "-".join(str(offset) for _, offset in sorted(offsets.items()))


def _parsed(last_id: str, bounds: list[tuple[int, int]]) -> list[int]:
    """Return the offsets in an id; a partition that is new since then is read from its first record."""
    parts = last_id.split("-")
    are_offsets = all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts)
    if not are_offsets or len(parts) > len(bounds):
        raise InvalidRequest(f"Last-Event-ID must be the id of an event of this stream, got {last_id!r:.100}")
    for part, (first, end) in zip(parts, bounds, strict=False):
        if not first <= int(part) <= end:
            raise InvalidRequest(
                f"Last-Event-ID must name offsets from {first} to {end}, got {part}: records were removed, "
                "or the topic was made again; leave it out, or ask with from=start"
            )
    return [*map(int, parts), *(first for first, _ in bounds[len(parts) :])]
