"""Partitions added to topics while the flows run on Kafka."""

from collections import Counter

from confluent_kafka.admin import AdminClient, NewPartitions
from harness import PATIENCE, Project, Running, wait_until
from made_flights import traffic

from flows.adapters.kafka.broker import KafkaBroker
from flows.core.stream.broker import Outgoing

FLIGHTS = 120


def grow(kafka: str, partitions: int, *topics: str) -> None:
    wanted = [NewPartitions(topic, partitions) for topic in topics]
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_partitions(wanted).values():
        future.result()
    broker = KafkaBroker(kafka, {})
    wait_until(lambda: all(broker.topics()[topic] == partitions for topic in topics), PATIENCE)


def starts(running: Running, flow: str) -> int:
    return running.said().count(f"{flow} started (pid ")


def over(partitions: int, records: list[Outgoing]) -> list[Outgoing]:
    return [record._replace(partition=number % partitions) for number, record in enumerate(records)]


def test_partitions_added_while_the_flows_run_are_read_and_nothing_is_lost_or_repeated(
    project_on_kafka: Project, kafka: str
) -> None:
    project = project_on_kafka.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.2)
    third = FLIGHTS // 3
    sent = traffic(FLIGHTS)
    of = {number: f"F{number:05}".encode() for number in range(FLIGHTS)}
    parts = [
        [r for r in sent if r.key in {of[n] for n in range(part * third, (part + 1) * third)}]
        for part in range(3)
    ]
    topics = ["flights", "departures", "arrivals", "flight_labels", "flight_delays.predictions"]
    with project.flows("predict", "learn") as running:

        def answered(flights: int) -> bool:
            learned = [metrics["labels"] for metrics in project.values("metrics")]
            return len(project.records("predictions")) >= flights and max(learned, default=0) >= flights

        project.send(parts[0])
        wait_until(lambda: answered(third), PATIENCE)
        grow(kafka, 3, "flights")
        again = next(record for record in parts[0] if record.topic == "flights")
        project.send([*parts[1], again._replace(partition=2)])
        wait_until(lambda: answered(2 * third), PATIENCE)
        assert (starts(running, "predict"), starts(running, "learn")) == (2, 1)
        grow(kafka, 4, *topics)
        project.send(over(4, parts[2]))
        wait_until(lambda: answered(FLIGHTS), PATIENCE)
        assert (starts(running, "predict"), starts(running, "learn")) == (3, 2)
        assert running.stop() == 0, running.said()
    assert "topic 'flights' now has 3 partitions, more than at the start of the flow" in running.said()
    assert "ended with" not in running.said()
    assert Counter(p["id"] for p in project.values("predictions")) == {k.decode(): 1 for k in of.values()}
    *_, last = project.values("metrics")
    assert (last["labels"], last["pending"], last["expired"]) == (FLIGHTS, 0, 0)
    # an event that comes again in another partition of its slot is recognised
    assert [dict(letter.headers)["reason"] for letter in project.records("dead-letters")] == [b"duplicate"]
