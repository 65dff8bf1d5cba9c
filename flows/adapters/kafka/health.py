"""Connection errors of a Kafka client, and the errors raised because of them."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from flows.adapters.kafka.errors import (
    DENIED,
    GONE,
    HOPELESS,
    MOVING,
    SILENCE,
    UNAUTHENTICATED,
    fatal,
    is_refusal,
    is_tls,
    shortened,
    tls_option,
)
from flows.errors import AccessDenied, BrokerAway, BrokerError

logger = logging.getLogger("driftline.kafka")
logger.addHandler(logging.NullHandler())  # silent in an application that does not configure logging

REPEAT = 30.0  # seconds before the same error is logged again


class Health:
    """Records the connection errors of one client and turns its failures into errors with advice.

    `who` is the client's name on Kafka, as returned by `principal`; `protocol` is its `security.protocol`.
    """

    def __init__(self, servers: str, who: str, protocol: str) -> None:
        self.servers = servers
        self.misses_topic = False
        self.lost_connection = False
        self._who = who
        self._protocol = protocol
        self._silent_until: dict[int, float] = {}
        self._last: KafkaError | None = None
        self._closed = False  # Kafka closes connections without a reason
        self._hopeless: KafkaError | None = None
        self._denied: AccessDenied | None = None

    def for_another_client(self) -> "Health":
        """Return a fresh `Health` for another client of the same principal."""
        return Health(self.servers, self._who, self._protocol)

    def report(self, error: KafkaError) -> None:
        """Record an error; this is the client's `error_cb`."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._closed = self._last is None
            return  # each connection has reported its own reason, if it got one
        self._last = error
        self._warn(error)
        if error.code() in GONE:
            self.misses_topic = True
        if error.code() == KafkaError._TRANSPORT:
            self.lost_connection = True
        if error.fatal() or error.code() in HOPELESS:
            self._hopeless = error

    def _warn(self, error: KafkaError) -> None:
        """Log the error unless it was logged recently: in an outage it repeats many times a second."""
        now = time.monotonic()
        if now >= self._silent_until.get(error.code(), 0.0):
            self._silent_until[error.code()] = now + REPEAT
            logger.warning("%s", error.str())

    def deny(self, denial: AccessDenied) -> None:
        """Let every later `raise_if_hopeless` raise `denial`."""
        self._denied = denial

    def raise_if_hopeless(self, operation: str = "", topic: str = "") -> None:
        """Raise `BrokerError` if a retry is pointless.

        `operation` and `topic` complete the text of a refusal that does not name them.
        """
        if self._denied is not None:
            raise self._denied
        if self._hopeless is not None:
            raise self._refusal(self._hopeless, operation, topic)

    @contextmanager
    def fatal_explained(self, operation: str, topic: str) -> Iterator[None]:
        """Turn a fatal librdkafka error, which ends the client for good, into a `BrokerError`.

        The call that serves the callbacks raises it, as a `SystemError` if a callback is running.
        A `SystemError` without a cause is explained by what `report` or a delivery recorded before.
        """
        try:
            yield
        except (KafkaException, SystemError) as error:
            found = fatal(error)
            if found is None:
                self.raise_if_hopeless(operation, topic)
                raise
            raise self._refusal(found, operation, topic) from error

    def ended(self) -> BrokerError:
        """Return the error for a producer that Kafka ended without a known reason."""
        return BrokerError(f"Kafka at {self.servers} ended the producer; look for the reason in Kafka's log")

    def refused_at_first(self, topic: str) -> AccessDenied:
        """Return the error for a producer that ended before it wrote: Kafka refused it a producer id."""
        return AccessDenied(
            f"Kafka at {self.servers} refuses {self._who} the operation WRITE on topic {topic!r}, it seems; "
            "add an ACL that allows it, or look for the reason in Kafka's log"
        )

    def denial(self, error: KafkaError, operation: str, *, topic: str = "", group: str = "") -> AccessDenied:
        """Return the error for a missing ACL.

        Kafka's error code gives the kind of resource; the caller gives the operation and the names.
        """
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            resource = f"group {group!r}"
        else:
            resource = f"topic {topic!r}" if topic else "the cluster"
        return AccessDenied(
            f"Kafka at {self.servers} refuses {self._who} the operation {operation} on {resource}; "
            "add an ACL that allows it"
        )

    @contextmanager
    def explained(
        self, client: Any, operation: str = "", *, topic: str = "", group: str = ""
    ) -> Iterator[None]:
        """Turn errors of `client` into `BrokerError`; the other arguments are those of `denial`."""
        try:
            yield
        except TimeoutError as error:
            raise BrokerAway(f"a request to Kafka at {self.servers} timed out; check that it runs") from error
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in DENIED:
                raise self.denial(reason, operation, topic=topic, group=group) from error
            if is_refusal(reason):
                raise self._refusal(reason) from error
            if reason.code() not in SILENCE:
                kind = BrokerAway if reason.code() in MOVING else BrokerError
                raise kind(f"Kafka at {self.servers} refuses: {reason.str()}") from error
            client.poll(0)  # delivers the errors of the connection attempts to `report`
            raise self._outage(reason) from error

    def raise_if_refused(self) -> None:
        """Raise `BrokerError` if connections are refused for a permanent reason."""
        if self._last is not None and is_refusal(self._last):
            raise self._refusal(self._last)

    def _outage(self, reason: KafkaError) -> BrokerError:
        """Return the error for a Kafka that cannot be reached."""
        if self._last is None and self._closed:
            return BrokerAway(
                f"Kafka at {self.servers} closes the connection without an answer: it is starting, or this "
                f"port wants another security protocol than {self._protocol!r}; set "
                "DRIFTLINE_KAFKA_SECURITY_PROTOCOL"
            )
        last = self._last or reason
        if is_refusal(last):
            return self._refusal(last)
        return BrokerAway(
            f"Kafka at {self.servers} does not answer: {last.str()}. Check the address and that it runs "
            "(`scripts/kafka start` starts one on this machine)"
        )

    def _refusal(self, error: KafkaError, operation: str = "", topic: str = "") -> BrokerError:
        text = shortened(error)
        if error.code() in DENIED and operation:
            return self.denial(error, operation, topic=topic)
        if error.code() in UNAUTHENTICATED:
            return BrokerError(
                f"Kafka at {self.servers} does not authenticate {self._who}: {text}; check "
                "DRIFTLINE_KAFKA_SASL_USERNAME, _SASL_PASSWORD and _SASL_MECHANISM"
            )
        if is_tls(text):
            return BrokerError(
                f"no TLS connection to Kafka at {self.servers}: {text}; check {tls_option(error, text)}"
            )
        return BrokerError(f"Kafka at {self.servers} refuses {self._who}: {text}")
