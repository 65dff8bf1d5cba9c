"""What happens to a whole run: a shutdown under load."""

from collections import Counter

from harness import PATIENCE, Project, wait_until

from flows.pipelines.flights_data import records

EVENTS = 1_000  # within the label wait, so that labels may stand in the log beforehand
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
    project.apply_feast()
    project.send(list(records(EVENTS)))
    with project.flows() as running:
        wait_until(lambda: written(project, "predictions") > 50, PATIENCE)
        assert running.stop() == 0, running.said()
    assert "did not drain" not in running.said()
    assert written(project, "predictions") < EVENTS, "there was no load left"
    with project.flows() as running:
        wait_until(lambda: learned(project) == (EVENTS, 0, 0), PATIENCE)
        assert running.stop() == 0, running.said()
    counts = Counter(prediction["id"] for prediction in project.values("predictions"))
    assert (len(counts), set(counts.values())) == (EVENTS, {1})
    assert project.records("dead-letters") == []
