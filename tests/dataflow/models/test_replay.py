"""A registered state and the logged labels give each model again that was ever published, bit for bit."""

from datetime import timedelta

import pytest
from harness import Project, run_flow
from made_flights import traffic
from schemas import check_all

from flows.core.learning.outliers import Outliers
from flows.core.models.model import Model, ModelMessage
from flows.core.stream.broker import Broker, Outgoing
from flows.jobs.models.replay import ModelReplays
from flows.runtime.engine import Engine
from flows.runtime.steps import registrar

FLIGHTS = 300
PARTS = 5


def published(project: Project, running: Engine) -> list[ModelMessage]:
    sealer = running.sealer()
    messages = [sealer.read(record) for record in project.records("models")]
    return sorted(messages, key=lambda message: (message.model.version, message.model.learned))


def replays(running: Engine, broker: Broker) -> ModelReplays:
    return ModelReplays(running, broker)


def run_in_parts(project: Project, running: Engine) -> None:
    """Predict and learn flights in several parts, so that models are published in between."""
    records = traffic(FLIGHTS)
    size = len(records) // PARTS + 1
    for start in range(0, len(records), size):
        project.send(records[start : start + size])
        run_flow(running, "predict")
        run_flow(running, "learn")


def are_equal(running: Engine, ours: Model, theirs: Model) -> bool:
    return running.sealer().pickle(ours) == running.sealer().pickle(theirs)


def is_label_of_a_seventh(record: Outgoing) -> bool:
    return record.topic == "flight_labels" and int((record.key or b"")[1:]) % 7 == 0


@pytest.mark.parametrize(
    ("project_on", "outliers"),
    [("log", "clip"), ("kafka", "clip"), ("log", "skip"), ("log", "learn")],
    indirect=["project_on"],
)
def test_each_published_model_is_computed_again_from_the_nearest_registered_state(
    project_on: Project, monkeypatch: pytest.MonkeyPatch, outliers: Outliers
) -> None:
    monkeypatch.setattr(registrar, "CHECKPOINT", 100)
    project = project_on.with_settings(BATCH=40, MODEL_SECONDS=0.01)
    running = project.engine(outliers=outliers)
    run_in_parts(project, running)
    check_all("learned", project.records("learned"))
    messages = published(project, running)
    assert len({message.model.learned for message in messages}) >= PARTS
    with project.broker() as broker:
        again = replays(running, broker)
        for message in messages:
            assert are_equal(running, again.model("v1", message.model.learned), message.model)


def test_a_model_after_a_label_between_two_publications_is_computed_in_any_order(project: Project) -> None:
    running = project.engine()
    run_in_parts(project, running)
    with project.broker() as broker:
        again, fresh = replays(running, broker), replays(running, broker)
        late = running.sealer().pickle(again.model("v1", 150))
        early = running.sealer().pickle(again.model("v1", 37))
        assert running.sealer().pickle(fresh.model("v1", 37)) == early
        assert running.sealer().pickle(fresh.model("v1", 150)) == late


def test_default_labels_are_learned_again_in_their_places(project: Project) -> None:
    running = project.engine(default_label=False, label_wait=timedelta(hours=3))
    project.send([record for record in traffic(FLIGHTS) if not is_label_of_a_seventh(record)])
    run_flow(running, "predict")
    run_flow(running, "learn")
    assert any(order["assumed"] for order in project.values("learned"))
    newest = published(project, running)[-1].model
    with project.broker() as broker:
        assert are_equal(running, replays(running, broker).model("v1", newest.learned), newest)
