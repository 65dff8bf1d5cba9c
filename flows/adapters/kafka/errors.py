"""Kafka's error codes, grouped by what they mean for a client, and the text of its errors."""

import re
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException

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
        KafkaError._NOENT,  # of a request for offsets: none of the partitions has a leader
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

_ADDRESS = re.compile(r"^(?:\w+://)?[^\s/]+/\w+: ")  # the connection, at the start of librdkafka's text
_STATE = re.compile(r" \(after \d+ms in state \w+[^)]*\)")
_TLS = re.compile(r"\bSSL\b")


def principal(settings: Mapping[str, Any]) -> str:
    """Return the Kafka principal of a client with these settings, as far as they determine it.

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


def fatal(error: BaseException | None) -> KafkaError | None:
    """Return the fatal librdkafka error in the exception's chain of causes, or None."""
    while error is not None:
        if isinstance(error, KafkaException) and error.args[0].fatal():
            found: KafkaError = error.args[0]
            return found
        error = error.__cause__ or error.__context__
    return None


def is_refusal(error: KafkaError) -> bool:
    """Return whether a retry is pointless: wrong user, password, certificate or protocol.

    librdkafka has no error code for a client certificate that the broker rejects, only the TLS text.
    """
    if error.code() == KafkaError._TRANSPORT:
        return "SSL routines" in error.str() or "SSL handshake failed" in error.str()
    return error.code() in UNAUTHENTICATED or error.code() == KafkaError._SSL


def is_tls(text: str) -> bool:
    """Return whether librdkafka's `text` is about TLS."""
    return _TLS.search(text) is not None


def shortened(error: KafkaError) -> str:
    """Return librdkafka's text without the name of the connection and its internal state."""
    return _STATE.sub("", _ADDRESS.sub("", str(error.str())))


def tls_option(error: KafkaError, text: str) -> str:
    """Return the setting to check for a failed TLS handshake."""
    if "PLAINTEXT" in text:
        return "DRIFTLINE_KAFKA_SECURITY_PROTOCOL: the listener on this port may not use TLS"
    if error.code() == KafkaError._SSL:
        return "DRIFTLINE_KAFKA_SSL_CA_LOCATION, and that Kafka's certificate is for this host"
    return "DRIFTLINE_KAFKA_SSL_CERTIFICATE_LOCATION and _SSL_KEY_LOCATION"
