"""Writes records to the broker in a thread, those of several requests at once."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from flows.core.stream.broker import Broker, Outgoing, Producer
from flows.errors import BrokerAway, BrokerError, RecordTooLarge
from flows.serve.problems import retry_later

MOST_WAITING = 10_000  # records that are not acknowledged yet
_AT_ONCE = 1000  # records

_log = logging.getLogger("driftline.serve")
_Batch = tuple[Sequence[Outgoing], "Future[None]"]


class Writer:
    """Sends records; a request whose records are not acknowledged gets an error, and may be repeated."""

    def __init__(self, open_broker: Callable[[], Broker]) -> None:
        self._open_broker = open_broker
        self._queue: SimpleQueue[_Batch | None] = SimpleQueue()
        self._waiting = 0
        self._lock = Lock()
        self._thread = Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, records: Sequence[Outgoing]) -> "Future[None]":
        """Return a future that is done when the broker has acknowledged all records, or has not.

        Raises a `Problem` with the status 429 if too many records wait.
        """
        with self._lock:
            if self._waiting + len(records) > MOST_WAITING:
                raise retry_later(
                    f"{self._waiting:,} records wait for the broker; nothing was published: send it again",
                    status=429,
                )
            self._waiting += len(records)
        done: Future[None] = Future()
        self._queue.put((records, done))
        return done

    def _run(self) -> None:
        broker, producer = None, None
        while batches := self._next():
            try:
                broker = broker or self._open_broker()
                producer = producer or broker.producer()
                producer.write([record for records, _ in batches for record in records])
                producer.flush()  # `send` would also ask the broker where the topics end
                error: Exception | None = None
            except Exception as failure:  # each request that waits must be answered
                error = failure
                _log.warning("records were not written: %s", failure)
                _close(producer, broker)
                broker, producer = None, None
            with self._lock:
                self._waiting -= sum(len(records) for records, _ in batches)
            for _, done in batches:
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        _close(producer, broker)

    def _next(self) -> list[_Batch]:
        """Return the batches that wait, at least one; none at the end."""
        first = self._queue.get()
        if first is None:
            return []
        batches, size = [first], len(first[0])
        with suppress(Empty):
            while size < _AT_ONCE:
                following = self._queue.get_nowait()
                if following is None:
                    self._queue.put(None)
                    break
                batches.append(following)
                size += len(following[0])
        return batches


def _close(producer: Producer | None, broker: Broker | None) -> None:
    for each in (producer, broker):
        if each is not None:
            with suppress(BrokerError):
                each.close()


def explained(error: BaseException) -> BaseException:
    """Return the error of a write as the answer to its request."""
    if isinstance(error, RecordTooLarge) or not isinstance(error, BrokerError):
        return error
    advice = "" if isinstance(error, BrokerAway) else "; it may or may not be on the topic"
    return retry_later(f"{error}{advice}. Send it again: a record with a known id is not published twice")
