"""Faults of a whole run: a shutdown under load, a broker that is killed."""

from collections import Counter
from collections.abc import Callable

from harness import PATIENCE, KafkaNode, Project, wait_until
from made_flights import traffic

from flows.pipelines.flights_data import records

EVENTS = 600  # within the label wait, so that labels may stand in the log beforehand
SETTINGS = {"HTTP_PORT": 0, "BATCH": 20, "EPOCH_SECONDS": 0.2}


def written(project: Project, kind: str) -> int:
    with project.broker() as broker:
        return broker.offsets(project.engine().pipeline.topic(kind))[0][1]


def learned(project: Project) -> tuple[int, int, int]:
    *_, last = [{"labels": 0, "pending": 0, "expired": 0}, *project.values("metrics")]
    return last["labels"], last["pending"], last["expired"]


def test_a_shutdown_under_load_is_in_order_and_the_next_start_loses_and_repeats_nothing(
    project: Project,
) -> None:
    project = project.with_settings(**SETTINGS)
    project.send(list(records(EVENTS)))
    with project.flows("predict", "learn", "retrain") as running:
        wait_until(lambda: written(project, "predictions") > 50, PATIENCE)
        assert running.stop() == 0, running.said()
    assert "did not drain" not in running.said()
    assert written(project, "predictions") < EVENTS, "there was no load left"
    with project.flows("predict", "learn") as running:
        wait_until(lambda: learned(project) == (EVENTS, 0, 0), PATIENCE)
        assert running.stop() == 0, running.said()
    counts = Counter(prediction["id"] for prediction in project.values("predictions"))
    assert (len(counts), set(counts.values())) == (EVENTS, {1})
    assert project.records("dead-letters") == []


def test_a_broker_that_is_killed_in_the_middle_of_a_run_loses_and_repeats_nothing(
    project: Project, kafka_node: Callable[[], KafkaNode]
) -> None:
    node = kafka_node()
    project = project.on_kafka(node.address).with_settings(**SETTINGS)
    sent = traffic(400)
    half = len(sent) // 2
    project.send(sent[:half])
    with project.flows("predict", "learn") as running:
        wait_until(lambda: written(project, "predictions") > 100, PATIENCE)
        node.kill()
        node.command("start")
        project.send(sent[half:])
        wait_until(lambda: learned(project)[0] == 400, PATIENCE)
        assert running.stop() == 0, running.said()
    assert project.records("dead-letters") == []
    assert learned(project) == (400, 0, 0)
    assert Counter(p["id"] for p in project.values("predictions")) == {f"F{n:05}": 1 for n in range(400)}
