"""A transaction stays open on a project's topic: predictions continue, and every command ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from harness import Project, run_flow
from made_flights import HOUR, MINUTE, NOON, departure, event, label


@pytest.fixture
def open_transaction(kafka: str, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Write a record to a topic in one transaction, which stays open until the test ends."""
    payer = Producer(
        {
            "bootstrap.servers": kafka,
            "transactional.id": f"payer-{tmp_path}",
            "transaction.timeout.ms": 600_000,
        }
    )
    payer.init_transactions(30)
    payer.begin_transaction()

    def write(topic: str) -> None:
        payer.produce(topic, b"in the transaction", partition=0)
        payer.flush()

    yield write
    payer.abort_transaction(30)


def test_predictions_go_on_and_every_command_ends_where_reading_ends(
    project_on_kafka: Project, open_transaction: Callable[[str], None]
) -> None:
    project = project_on_kafka
    bad = event("F3", NOON)._replace(value=b"no event")
    project.send([departure("F0", NOON - MINUTE, 20), event("F1", NOON), bad])
    open_transaction("departures")
    project.send(
        [event("F2", NOON + MINUTE), label("F1", NOON + HOUR, True), label("F2", NOON + HOUR, False)]
    )
    run_flow(project.engine(), "predict")
    assert [p["id"] for p in project.values("predictions")] == ["F1", "F2"]

    topics = ["departures", "flights", "flight_labels", "flight_delays.predictions"]
    topics.append("flight_delays.dead-letters")
    for topic in topics[1:]:
        open_transaction(topic)
    rows = {row["topic"]: row for row in orjson.loads(project.run("topics", "--json").stdout)}
    assert [topic for topic, row in rows.items() if row["held_back"]] == [t for t in rows if t in topics]
    assert (rows["departures"]["held_back"], rows["departures"]["lag"]) == (1, {"predict": 0})
    assert "departures: 1 records cannot be read yet" in project.run("topics").stdout

    report = orjson.loads(project.run("verify", "features", "--no-feast", "--json").stdout)
    assert report["questions"] == 2
    assert sum(view["mismatches"] for view in report["views"]) == 0
    assert project.run("training-set", "out.parquet").stdout.startswith("2 rows")
    letters = orjson.loads(project.run("dead-letters", "list", "--json").stdout)
    assert letters["counts"] == [{"reason": "not-json", "topic": "flights", "letters": 1}]
    assert project.run("backfill").stdout.startswith("4 records, 1 dead letters")
