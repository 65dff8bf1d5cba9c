"""Opens the broker at an address, and the engine's group on Kafka."""

import importlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from urllib.parse import unquote

from flows.core.stream.broker import Broker
from flows.errors import ConfigError

KAFKA = re.compile(r"kafka://((?:[^\s,/@]+:\d+)(?:,[^\s,/@]+:\d+)*)/?")
CREDENTIALS = re.compile(r"(?<=//).*@")
FILE = re.compile(r"file://(/.*[^/])")


def is_embedded(url: str) -> bool:
    """Return whether this is the address of an embedded log.

    >>> is_embedded("file:///srv/log.db"), is_embedded("kafka://127.0.0.1:9092")
    (True, False)
    """
    return FILE.fullmatch(url) is not None


def prepare(url: str) -> None:
    """Import the adapter of the broker at `url`, for the processes forked from this one; open nothing."""
    adapter = "flows.adapters.kafka.broker" if KAFKA.fullmatch(url) else "flows.adapters.sqlite.log"
    importlib.import_module(adapter)


def open_broker(url: str, kafka_options: Mapping[str, str]) -> Broker:
    """Return the broker at `kafka://host:port[,host:port]`, or in the file `file:///absolute/path/log.db`.

    `kafka_options` are passed to every Kafka client: `security.protocol`, `sasl.*`, `ssl.*` and so on. Raises
    `ConfigError` for any other address, and `BrokerError` for a file that is not a log.
    """
    if match := KAFKA.fullmatch(url):
        from flows.adapters.kafka.broker import KafkaBroker

        return KafkaBroker(match[1], kafka_options)
    if match := FILE.fullmatch(url):
        from flows.adapters.sqlite.log import LogBroker

        return LogBroker(Path(unquote(match[1])))
    raise ConfigError(
        "the broker's address must be kafka://host:port[,host:port] or file:///absolute/path/log.db, "
        f"got {re.sub(CREDENTIALS, '***@', url)!r}; set DRIFTLINE_BROKER"
    )


def membership(
    url: str,
    kafka_options: Mapping[str, str],
    group: str,
    topic: str,
    engine: str,
    on_loss: Callable[[str], None],
) -> AbstractContextManager[object]:
    """Return the membership of `engine` in `group`, to be held while a block runs.

    With the embedded log it does nothing: that serves one machine, where file locks exclude a second engine.
    """
    if match := KAFKA.fullmatch(url):
        from flows.adapters.kafka.broker import KafkaBroker
        from flows.adapters.kafka.membership import Membership

        return Membership(KafkaBroker(match[1], kafka_options), group, topic, engine, on_loss)
    return nullcontext()


def await_member(url: str, kafka_options: Mapping[str, str], group: str, engine: str) -> None:
    """Wait until `engine` is in `group`; raises `EngineConflict` if another engine is."""
    if match := KAFKA.fullmatch(url):
        from flows.adapters.kafka.broker import KafkaBroker
        from flows.adapters.kafka.membership import await_member

        await_member(KafkaBroker(match[1], kafka_options), group, engine)


def check_sole(url: str, kafka_options: Mapping[str, str], group: str, engine: str) -> None:
    """Raise `EngineConflict` if an engine other than `engine` is in `group` on Kafka."""
    if match := KAFKA.fullmatch(url):
        from flows.adapters.kafka.broker import KafkaBroker
        from flows.adapters.kafka.membership import check_sole

        check_sole(KafkaBroker(match[1], kafka_options), group, engine)


def has_members(url: str, kafka_options: Mapping[str, str], group: str) -> bool:
    """Return whether an engine is in `group` on Kafka; False with the embedded log."""
    if match := KAFKA.fullmatch(url):
        from flows.adapters.kafka.broker import KafkaBroker

        return bool(KafkaBroker(match[1], kafka_options).members(group))
    return False
