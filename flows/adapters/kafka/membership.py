"""That a flow of a pipeline runs once on a Kafka: its place in a consumer group of its own.

Whoever runs the flow is the one member of the group to which Kafka assigns partition 0 of a topic. The member
is static (KIP-345) and has the name of its engine, which stands for a state directory: an engine that starts
again takes the place of its crashed predecessor at once. Nothing is read and no offset is committed.
Librdkafka sends the heartbeats by a thread of its own, so a flow that is held up for minutes keeps its place.
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

SESSION = 10  # seconds without a heartbeat after which Kafka gives the place away
PATIENCE = 60.0  # seconds that Kafka may take to assign it
_POLL = 0.5  # seconds
_CLIENT = "driftline@"
_SETTINGS = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "range",  # partition 0 has one owner in every generation of the group
    "session.timeout.ms": SESSION * 1000,
    "max.poll.interval.ms": 86_400_000,  # it is the heartbeats that tell whether the process lives
}


class Holder(NamedTuple):
    """An engine that is in the group, and where."""

    engine: str
    host: str
    address: str

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


class _Place(Enum):
    AWAITED = auto()
    HELD = auto()
    REFUSED = auto()  # the group is settled and the place is another's, or nobody's


class Membership:
    """The place of `engine` in `group` while a block runs.

    Entering it raises `EngineConflict` where another engine has the place, and `BrokerError`. `on_loss` is
    called from another thread, with a text for a person, when another engine has taken the place.
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
                raise BrokerError(f"Kafka has not settled group {self._group!r} for {PATIENCE:g} s")
            self._look(0.05)

    def _hold(self) -> None:
        try:
            while not self._leaving.is_set():
                try:
                    self._look(_POLL)
                except BrokerError as error:  # it is asked again
                    logger.warning("%s", error)
        except EngineConflict as conflict:
            self._on_loss(str(conflict))

    def _look(self, seconds: float) -> None:
        """Let the client work for so long at most; raises `EngineConflict` if the place is another's."""
        message = self._client.poll(seconds)
        if message is not None and (error := message.error()):
            self._raise_if_final(error)
        if self._place is _Place.REFUSED:
            _raise_for_others(self._broker, self._group, self._engine)

    def _raise_if_final(self, error: KafkaError) -> None:
        if error.code() == KafkaError._FATAL:
            raise EngineConflict(
                f"another process has taken the place of this one in the group {self._group!r}, with the "
                "same state directory or a copy of it; let only one of them run"
            )
        if error.code() in DENIED:
            raise self._broker.denial(error, "READ", topic=self._topic, group=self._group)
        if error.code() in HOPELESS:
            raise BrokerError(f"Kafka refuses a member of the group {self._group!r}: {error.str()}")

    def _assigned(self, client: Consumer, partitions: Sequence[Assigned]) -> None:
        held = any(each.partition == 0 for each in partitions)
        self._place = _Place.HELD if held else _Place.REFUSED
        client.assign([Assigned(each.topic, each.partition, OFFSET_END) for each in partitions])
        client.pause(partitions)  # nothing is to be read

    def _revoked(self, _client: Consumer, _partitions: Sequence[Assigned]) -> None:
        self._place = _Place.AWAITED

    def _leave_group(self) -> None:
        """Leave, whatever the state; a static member that is only closed stays until its session ends."""
        held = self._place is _Place.HELD
        with suppress(KafkaException):  # one whose place was taken has none to leave
            self._client.unsubscribe()
            for _ in range(10):
                self._client.poll(0.05)
                if not held or self._place is not _Place.HELD:
                    break
        self._client.close()


def check_sole(broker: KafkaBroker, group: str, engine: str) -> None:
    """Raise `EngineConflict` when another engine has the place in `group`, and `BrokerError`."""
    if engine not in [holder.engine for holder in holders(broker, group)]:
        _raise_for_others(broker, group, engine)


def _raise_for_others(broker: KafkaBroker, group: str, engine: str) -> None:
    for holder in holders(broker, group):
        if holder.engine != engine:
            raise EngineConflict(
                f"another engine is in the group {group!r}, on {holder}, with another state "
                f"directory; stop that one first (one that was killed is forgotten after {SESSION} s)"
            )


def await_member(broker: KafkaBroker, group: str, engine: str) -> None:
    """Wait until `engine` is in `group`; raises `EngineConflict` when another one is, and `BrokerError`."""
    broker.check_group(group)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = holders(broker, group)
        if engine in [holder.engine for holder in found]:
            return
        if found:
            raise EngineConflict(
                f"the first process runs on {found[0]} with another state directory; all processes of a flow "
                "need the same one"
            )
        time.sleep(0.1)
    raise BrokerError(f"the first process of the flow has not come within {PATIENCE:g} s; start it too")


def holders(broker: KafkaBroker, group: str) -> list[Holder]:
    """The engines that are in the group: the one that has the place, and any that wait for it."""
    found = []
    for client_id, address in broker.members(group):
        host, _, engine = client_id.removeprefix(_CLIENT).rpartition("/")
        found.append(Holder(engine, host, address.removeprefix("/")))
    return found
