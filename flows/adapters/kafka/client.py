"""Construction of librdkafka clients, with the options that all of them share."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException

from flows.adapters.kafka.health import Health, logger
from flows.errors import ConfigError

CLIENT = {
    "client.id": "driftline",
    "reconnect.backoff.max.ms": "1000",
    "socket.nagle.disable": "true",  # small requests follow one another without waiting for a reply
    # librdkafka logs every failed connection attempt; `Health` gets the same errors and logs fewer of them
    "log_level": "2",
    # otherwise a metadata request for a missing topic creates it, with the broker's defaults
    "allow.auto.create.topics": "false",
}
SECRET = ("password", "secret", "token", "key.pem", "sasl.jaas", "oauthbearer.config")


def open_client(kind: Any, settings: Mapping[str, Any], health: Health) -> Any:
    """Return a librdkafka client of class `kind`.

    Raises `ConfigError` for an unknown or invalid option; its text masks the values of secrets.
    """
    try:
        return kind({**settings, "logger": logger, "error_cb": health.report})
    except KafkaException as error:
        text: str = error.args[0].str()
    for name, value in settings.items():
        if value and any(part in name for part in SECRET):
            text = text.replace(str(value), "***")
    raise ConfigError(f"invalid Kafka option: {text}; correct DRIFTLINE_KAFKA_*")


def open_group_client(
    settings: Mapping[str, Any], health: Health, group: str, options: Mapping[str, Any]
) -> Consumer:
    """Return a consumer with the group id `group` and these further options; it commits no offsets itself."""
    own = {"group.id": group, "enable.auto.commit": False}
    return open_client(Consumer, {**settings, **own, **options}, health)
