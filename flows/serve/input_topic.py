"""Publishes events or labels for callers over HTTP, each id once."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from flows.core.serving.last_known import LastKnown
from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Headers, Outgoing, Record
from flows.core.stream.decode import Decoded, Decoder
from flows.errors import InvalidRecord
from flows.serve.problems import Problem, retry_later
from flows.serve.writer import Writer, explained

_PATIENCE = 10.0  # seconds to wait for the broker's acknowledgement


@dataclass(frozen=True)
class Published:
    """A record that is on the topic: from this request, or `known` from before."""

    id: str
    status: Literal["published", "known"]


class InputTopic:
    """One input topic of a pipeline.

    A record whose id and content are among the `known` last ones of the topic is not published again. With
    another content it is refused.
    """

    def __init__(self, topic: str, decoder: Decoder, writer: Writer, known: int) -> None:
        self._topic = topic
        self._decoder = decoder
        self._writer = writer
        self._contents = LastKnown[int](known)
        self._unacknowledged: dict[str, tuple[int, asyncio.Future[None]]] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Remember the contents of records of the topic; a dead letter is no duplicate."""
        self._contents.add(self._known(records))

    def _known(self, records: Iterable[Record]) -> Iterable[tuple[str, int]]:
        for record in records:
            try:
                decoded = self._decoder.decode(record)
            except InvalidRecord:
                continue
            yield decoded.id, _content(decoded)

    def decode(self, body: bytes) -> Decoded:
        """Return a record that the engine takes; raises `InvalidRecord`."""
        now = time.time_ns() // 1_000_000
        return self._decoder.decode(Record(self._topic, 0, 0, now, None, body, ()))

    async def publish(self, bodies: Sequence[bytes], decoded: Sequence[Decoded]) -> list[Published | Problem]:
        """Publish records; return what became of each.

        Raises `Problem` if the broker takes none of them. They are sent with their event times, as by
        `driftline publish`.
        """
        loop = asyncio.get_running_loop()
        results: list[Published | Problem] = []
        new: dict[str, tuple[int, Outgoing]] = {}
        waits: list[asyncio.Future[None]] = []
        for body, record in zip(bodies, decoded, strict=True):
            content = _content(record)
            known, pending = self._known_content(record.id, new)
            if known is None:
                outgoing = Outgoing(self._topic, body, record.id.encode(), None, record.time, _headers())
                new[record.id] = content, outgoing
                results.append(Published(record.id, "published"))
            elif known == content:
                waits += [pending] if pending is not None else []
                results.append(Published(record.id, "known"))
            else:
                results.append(_conflict(record.id))
        if new:
            sent = asyncio.wrap_future(self._writer.submit([out for _, out in new.values()]), loop=loop)
            self._unacknowledged.update((name, (content, sent)) for name, (content, _) in new.items())
            sent.add_done_callback(lambda done: self._acknowledged(done, new))
            waits.append(sent)
        await _all(waits)
        return results

    def _known_content(
        self, name: str, new: dict[str, tuple[int, Outgoing]]
    ) -> tuple[int | None, asyncio.Future[None] | None]:
        """Return the content that was published under an id, and what its publication waits for."""
        if name in new:
            return new[name][0], None
        if name in self._unacknowledged:
            return self._unacknowledged[name]
        return self._contents.get(name), None

    def _acknowledged(self, sent: asyncio.Future[None], new: dict[str, tuple[int, Outgoing]]) -> None:
        for name in new:
            del self._unacknowledged[name]
        if not sent.cancelled() and sent.exception() is None:
            self._contents.add((name, content) for name, (content, _) in new.items())


async def _all(waits: Sequence[asyncio.Future[None]]) -> None:
    """Wait for the acknowledgements; raises `Problem` without them."""
    if not waits:
        return
    done, pending = await asyncio.wait(waits, timeout=_PATIENCE)  # does not cancel them
    if pending:
        raise retry_later(
            f"the broker did not acknowledge within {_PATIENCE:g} s. Send it again: a record with a known id "
            "is not published twice"
        )
    for each in done:
        if (error := each.exception()) is not None:
            raise explained(error)


def _conflict(name: str) -> Problem:
    return Problem(
        409, f"a record with the id {name!r} and another content is on the topic; choose another id"
    )


def _content(record: Decoded) -> int:
    """Return a hash of the declared fields; it is not stored, so it may differ between processes."""
    return hash(frozenset(item for item in record.payload.items() if item[1] is not None))


def _headers() -> Headers:
    return ((PUBLISHED_AT, str(time.time_ns() // 1000).encode()),)
