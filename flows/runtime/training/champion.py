"""Finds the champion as it was last published."""

from collections.abc import Iterator

from flows.core.models.announcements import Announcement
from flows.core.models.model import Model
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Broker, TopicPartition, read_range
from flows.errors import SnapshotError

_NEWEST = 64  # records of each partition in which the champion is looked for first, then twice as many


def newest_champion(broker: Broker, topic: str, sealer: Sealer) -> Model | None:
    """Return the champion as it was last published; None if none was."""
    newest, longest = _NEWEST, max(end - start for start, end in broker.offsets(topic))
    while True:
        found = list(_champions(broker, topic, sealer, newest))
        if found or newest >= longest:
            break
        newest *= 2
    return sealer.load(max(found, key=lambda announced: announced.sequence)) if found else None


def _champions(broker: Broker, topic: str, sealer: Sealer, newest: int) -> Iterator[Announcement]:
    """Yield the announcements of champions among the newest records of each partition."""
    for number, (start, end) in enumerate(broker.offsets(topic)):
        for records in read_range(broker, TopicPartition(topic, number), max(start, end - newest), end):
            for record in records:
                if ("role", b"champion") in record.headers:
                    try:
                        yield sealer.announced(record)
                    except SnapshotError:
                        continue  # the predict flow writes a dead letter
