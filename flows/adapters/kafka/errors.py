"""Kafka's refusals and outages, as errors that say what to do: its error codes decide the text."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from flows.errors import AccessDenied, BrokerAway, BrokerError

logger = logging.getLogger("driftline.kafka")
logger.addHandler(logging.NullHandler())  # an application that sets up no logging gets no noise

REPEAT = 30.0  # seconds before the same trouble is logged again

DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
UNAUTHENTICATED = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
HOPELESS = DENIED | UNAUTHENTICATED
GONE = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
MOVING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._WAIT_COORD,
    }
)
SILENCE = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})

_ADDRESS = re.compile(r"^(?:\w+://)?[^\s/]+/\w+: ")  # of the connection, before librdkafka's words
_STATE = re.compile(r" \(after \d+ms in state \w+[^)]*\)")
_TLS = re.compile(r"\bSSL\b")


class Health:
    """What a client reports about its connections, and how a failure is put into words.

    `who` is the client's name on Kafka, as `principal` gives it; `protocol` its `security.protocol`.
    """

    def __init__(self, servers: str, who: str, protocol: str) -> None:
        self.servers = servers
        self.misses_topic = False
        self.lost_connection = False
        self._who = who
        self._protocol = protocol
        self._silent_until: dict[int, float] = {}
        self._last: KafkaError | None = None
        self._closed = False  # Kafka closes connections without giving a reason
        self._hopeless: KafkaError | None = None
        self._denied: AccessDenied | None = None

    def for_another_client(self) -> "Health":
        """A fresh health for another client of the same name."""
        return Health(self.servers, self._who, self._protocol)

    def report(self, error: KafkaError) -> None:
        """The client's `error_cb`."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._closed = self._last is None
            return  # the connections have said why, if Kafka let them know
        self._last = error
        self._warn(error)
        if error.code() in GONE:
            self.misses_topic = True
        if error.code() == KafkaError._TRANSPORT:
            self.lost_connection = True
        if error.fatal() or error.code() in HOPELESS:
            self._hopeless = error

    def _warn(self, error: KafkaError) -> None:
        """Log what is new; in an outage every attempt to connect reports the same many times a second."""
        now = time.monotonic()
        if now >= self._silent_until.get(error.code(), 0.0):
            self._silent_until[error.code()] = now + REPEAT
            logger.warning("%s", error.str())

    def deny(self, denial: AccessDenied) -> None:
        """Let `raise_if_hopeless` raise this from now on."""
        self._denied = denial

    def raise_if_hopeless(self, operation: str = "", topic: str = "") -> None:
        """Raise `BrokerError` once trying again is of no use.

        `operation` and `topic` are what the client does, for the text of a refusal that does not name them.
        """
        if self._denied is not None:
            raise self._denied
        if self._hopeless is not None:
            raise self._refusal(self._hopeless, operation, topic)

    @contextmanager
    def fatal_explained(self, operation: str, topic: str) -> Iterator[None]:
        """Turn librdkafka's fatal errors, which end a client for good, into a `BrokerError`.

        They are raised out of whatever call serves the callbacks, as a `SystemError` where one runs then.
        That may have no cause; then `report` or a delivery has noted the reason.
        """
        try:
            yield
        except (KafkaException, SystemError) as error:
            fatal = _fatal(error)
            if fatal is None:
                self.raise_if_hopeless(operation, topic)
                raise
            raise self._refusal(fatal, operation, topic) from error

    def ended(self) -> BrokerError:
        """Return the error for a client that Kafka ended, where the client lost the reason."""
        return BrokerError(f"Kafka at {self.servers} ended the producer; its log has the reason")

    def refused_at_first(self, topic: str) -> AccessDenied:
        """Return the same for a producer that never wrote: it was refused its id, for want of an ACL."""
        return AccessDenied(
            f"Kafka at {self.servers} refuses {self._who} the operation WRITE on topic {topic!r}, it seems; "
            "add an ACL that allows it, or look into its log"
        )

    def denial(self, error: KafkaError, operation: str, *, topic: str = "", group: str = "") -> AccessDenied:
        """The error for a missing ACL; Kafka's code tells the kind of resource, the caller the operation."""
        resource = (
            f"group {group!r}" if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED else "the cluster"
        )
        if topic and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            resource = f"topic {topic!r}"
        return AccessDenied(
            f"Kafka at {self.servers} refuses {self._who} the operation {operation} on {resource}; "
            "add an ACL that allows it"
        )

    @contextmanager
    def explained(
        self, client: Any, operation: str = "", *, topic: str = "", group: str = ""
    ) -> Iterator[None]:
        """Turn what `client` raises into a `BrokerError`; the rest is that of `denial`."""
        try:
            yield
        except TimeoutError as error:
            raise BrokerAway(f"a request to Kafka at {self.servers} timed out") from error
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in DENIED:
                raise self.denial(reason, operation, topic=topic, group=group) from error
            if _is_refusal(reason):
                raise self._refusal(reason) from error
            if reason.code() not in SILENCE:
                kind = BrokerAway if reason.code() in MOVING else BrokerError
                raise kind(f"Kafka at {self.servers} refuses: {reason.str()}") from error
            client.poll(0)  # hands over what the connection attempts reported
            raise self._outage(reason) from error

    def raise_if_refused(self) -> None:
        """Raise `BrokerError` where no connection can be made for a reason that does not pass."""
        if self._last is not None and _is_refusal(self._last):
            raise self._refusal(self._last)

    def _outage(self, reason: KafkaError | None) -> BrokerError:
        """The error for a Kafka with which no connection could be made."""
        last = self._last or reason
        if self._last is None and self._closed:
            return BrokerAway(
                f"Kafka at {self.servers} closes the connection without an answer: it is starting, or this "
                f"port wants another security protocol than {self._protocol!r}; set "
                "DRIFTLINE_KAFKA_SECURITY_PROTOCOL"
            )
        if last is not None and _is_refusal(last):
            return self._refusal(last)
        detail = last.str() if last is not None else "no connection"
        return BrokerAway(
            f"Kafka at {self.servers} does not answer: {detail}. Check the address and that it runs "
            "(`scripts/kafka start` starts one on this machine)"
        )

    def _refusal(self, error: KafkaError, operation: str = "", topic: str = "") -> BrokerError:
        words = _words(error)
        if error.code() in DENIED and operation:
            return self.denial(error, operation, topic=topic)
        if error.code() in UNAUTHENTICATED:
            return BrokerError(
                f"Kafka at {self.servers} does not authenticate {self._who}: {words}; check "
                "DRIFTLINE_KAFKA_SASL_USERNAME, _SASL_PASSWORD and _SASL_MECHANISM"
            )
        if _TLS.search(words):
            return BrokerError(
                f"no TLS connection to Kafka at {self.servers}: {words}; check {_tls_option(error, words)}"
            )
        return BrokerError(f"Kafka at {self.servers} refuses {self._who}: {words}")


def principal(settings: Mapping[str, Any]) -> str:
    """The name that Kafka knows a client with these settings by, as far as they tell.

    >>> principal({"security.protocol": "SASL_SSL", "sasl.username": "alice"})
    "user 'alice'"
    >>> principal({"security.protocol": "ssl", "ssl.certificate.location": "/etc/client.pem"})
    "the owner of the certificate '/etc/client.pem'"
    >>> principal({})
    "user 'ANONYMOUS'"
    """
    protocol = str(settings.get("security.protocol", "plaintext")).lower()
    if protocol.startswith("sasl"):
        user = settings.get("sasl.username")
        return f"user {user!r}" if user else "this client"
    if protocol == "ssl":
        for name in ("ssl.certificate.location", "ssl.keystore.location"):
            if settings.get(name):
                return f"the owner of the certificate {settings[name]!r}"
        if settings.get("ssl.certificate.pem"):
            return "the owner of its certificate"
    return "user 'ANONYMOUS'"


def _fatal(error: BaseException | None) -> KafkaError | None:
    """The fatal error of a client behind an exception, if there is one."""
    while error is not None:
        if isinstance(error, KafkaException) and error.args[0].fatal():
            found: KafkaError = error.args[0]
            return found
        error = error.__cause__ or error.__context__
    return None


def _is_refusal(error: KafkaError) -> bool:
    """Whether connecting again is of no use: a wrong name, password, certificate or protocol.

    A certificate that the broker refuses has no code of its own in librdkafka, only TLS's words.
    """
    if error.code() == KafkaError._TRANSPORT:
        return "SSL routines" in error.str() or "SSL handshake failed" in error.str()
    return error.code() in UNAUTHENTICATED or error.code() == KafkaError._SSL


def _words(error: KafkaError) -> str:
    """Librdkafka's words without the connection and its state, of which a person knows nothing."""
    return _STATE.sub("", _ADDRESS.sub("", str(error.str())))


def _tls_option(error: KafkaError, words: str) -> str:
    if "PLAINTEXT" in words:
        return "DRIFTLINE_KAFKA_SECURITY_PROTOCOL: this port may be one without TLS"
    if error.code() == KafkaError._SSL:
        return "DRIFTLINE_KAFKA_SSL_CA_LOCATION, and that Kafka's certificate is for this host"
    return "DRIFTLINE_KAFKA_SSL_CERTIFICATE_LOCATION and _SSL_KEY_LOCATION"
