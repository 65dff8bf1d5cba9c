"""Ensures that at most one engine runs each flow on a Kafka cluster, via a static consumer-group member.

Each flow has its own consumer group. The engine that runs the flow is the member to which Kafka assigns
partition 0 of a topic. The member is static (KIP-345) and named after its engine, which identifies a state
directory, so a restarted engine replaces its crashed predecessor at once. It reads no records and commits no
offsets. librdkafka sends heartbeats from its own thread, so a flow that blocks for minutes stays a member.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple, Self

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assigned

from flows.adapters.kafka.broker import KafkaBroker
from flows.adapters.kafka.errors import DENIED, HOPELESS
from flows.errors import BrokerError, EngineConflict

logger = logging.getLogger("driftline.membership")

SESSION = 10  # seconds without a heartbeat after which Kafka drops the member
PATIENCE = 60.0  # seconds that Kafka may take to assign the partition
_POLL = 0.5  # seconds
_CLIENT = "driftline@"
_SETTINGS = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "range",  # partition 0 has one owner in each generation
    "session.timeout.ms": SESSION * 1000,
    "max.poll.interval.ms": 86_400_000,  # a day: heartbeats alone decide whether the member is alive
}


class Holder(NamedTuple):
    """An engine in the group, and where it runs."""

    engine: str
    host: str
    address: str

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


class _Place(Enum):
    AWAITED = auto()
    HELD = auto()
    REFUSED = auto()  # the group is stable, and partition 0 went to another member or to none


class Membership:
    """Context manager that keeps `engine` the owner of `group` while the block runs.

    Entering raises `EngineConflict` if another engine owns the group, and `BrokerError`. `on_loss` is called
    from another thread, with the reason, when another engine takes over the group.
    """

    def __init__(
        self, broker: KafkaBroker, group: str, topic: str, engine: str, on_loss: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._group = group
        self._topic = topic
        self._engine = engine
        self._on_loss = on_loss
        self._place = _Place.AWAITED
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="membership", daemon=True)

    def __enter__(self) -> Self:
        check_sole(self._broker, self._group, self._engine)
        self._client = self._open()
        try:
            self._await_place()
        except BaseException:
            self._leave_group()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()
        self._leave_group()

    def _open(self) -> Consumer:
        client_id = f"{_CLIENT}{socket.gethostname()}/{self._engine}"
        member = {**_SETTINGS, "group.instance.id": self._engine, "client.id": client_id}
        client = self._broker.member(self._group, member)
        client.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        return client

    def _await_place(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._place is not _Place.HELD:
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Kafka did not assign a partition to group {self._group!r} within {PATIENCE:g} s; "
                    "look for the reason in Kafka's log"
                )
            self._look(0.05)

    def _hold(self) -> None:
        try:
            while not self._leaving.is_set():
                try:
                    self._look(_POLL)
                except BrokerError as error:  # the next poll tries again
                    logger.warning("%s", error)
        except EngineConflict as conflict:
            self._on_loss(str(conflict))

    def _look(self, seconds: float) -> None:
        """Poll the client for at most `seconds`; raise `EngineConflict` if another engine owns the group."""
        message = self._client.poll(seconds)
        if message is not None and (error := message.error()):
            self._raise_if_final(error)
        if self._place is _Place.REFUSED:
            _raise_for_others(self._broker, self._group, self._engine)

    def _raise_if_final(self, error: KafkaError) -> None:
        if error.code() == KafkaError._FATAL:
            raise EngineConflict(
                f"another process has taken the place of this one in the group {self._group!r}, with the "
                "same state directory or a copy of it; run only one of them"
            )
        if error.code() in DENIED:
            raise self._broker.denial(error, "READ", topic=self._topic, group=self._group)
        if error.code() in HOPELESS:
            raise BrokerError(f"Kafka refuses a member of group {self._group!r}: {error.str()}")

    def _assigned(self, client: Consumer, partitions: Sequence[Assigned]) -> None:
        held = any(each.partition == 0 for each in partitions)
        self._place = _Place.HELD if held else _Place.REFUSED
        client.assign([Assigned(each.topic, each.partition, OFFSET_END) for each in partitions])
        client.pause(partitions)  # no record is read

    def _revoked(self, _client: Consumer, _partitions: Sequence[Assigned]) -> None:
        self._place = _Place.AWAITED

    def _leave_group(self) -> None:
        """Leave the group at once; a static member that is only closed stays until its session times out."""
        held = self._place is _Place.HELD
        with suppress(KafkaException):  # a member that was replaced cannot leave
            self._client.unsubscribe()
            for _ in range(10):
                self._client.poll(0.05)
                if not held or self._place is not _Place.HELD:
                    break
        self._client.close()


def check_sole(broker: KafkaBroker, group: str, engine: str) -> None:
    """Raise `EngineConflict` if another engine is in `group`; raises `BrokerError` too."""
    if engine not in [holder.engine for holder in holders(broker, group)]:
        _raise_for_others(broker, group, engine)


def _raise_for_others(broker: KafkaBroker, group: str, engine: str) -> None:
    for holder in holders(broker, group):
        if holder.engine != engine:
            raise EngineConflict(
                f"another engine is in the group {group!r}, on {holder}, with another state directory; "
                f"stop it first (Kafka drops a killed engine after {SESSION} s)"
            )


def await_member(broker: KafkaBroker, group: str, engine: str) -> None:
    """Wait until `engine` is in `group`; raises `EngineConflict` if another one is, and `BrokerError`."""
    broker.check_group(group)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = holders(broker, group)
        if engine in [holder.engine for holder in found]:
            return
        if found:
            raise EngineConflict(
                f"the first process runs on {found[0]} with another state directory; give all processes of a "
                "flow the same one"
            )
        time.sleep(0.1)
    raise BrokerError(f"the first process of the flow did not join within {PATIENCE:g} s; start it too")


def holders(broker: KafkaBroker, group: str) -> list[Holder]:
    """Return the engines in the group: its owner, and any that wait for it."""
    found = []
    for client_id, address in broker.members(group):
        host, _, engine = client_id.removeprefix(_CLIENT).rpartition("/")
        found.append(Holder(engine, host, address.removeprefix("/")))
    return found
