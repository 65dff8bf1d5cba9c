"""`kill -9` of the learn flow, ten times at random moments, on Kafka."""

import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from random import Random

import orjson
import pytest
from harness import PATIENCE, Project, Running, lag, run_flow, wait_until

from flows.core.models.model import Model
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Broker, Outgoing
from flows.pipelines.flights_data import records
from flows.runtime.engine import Engine

EVENTS = 1000
KILLS = 10
AS_IT_IS = ""
FEW_IN_MEMORY = """
from flows.core.evaluation import learned_truths, pending
from flows.host import block_files
pending.NEWEST = learned_truths.ROWS = 8
learned_truths.LEARNED_LIMIT = 400
block_files._FILE_BYTES, block_files._SECONDS = 4000, 0.0
"""
RUN = "import sys; from flows.runtime.runner import SINGLE, main; sys.exit(main(['learn'], SINGLE))"


@pytest.fixture(scope="module")
def judged(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> list[Outgoing]:
    """Predictions with scores of every kind and their labels, some of them twice, by time."""
    project = applied.copy_to(tmp_path_factory.mktemp("judged") / "project")
    flights = list(records(EVENTS))
    project.send(flights)
    run_flow(project.engine(), "predict")
    random = Random(1)
    served = [
        Outgoing(
            record.topic,
            orjson.dumps({**orjson.loads(record.value), "score": random.random()}),
            record.key,
            timestamp=record.timestamp,
            headers=record.headers,
        )
        for record in project.records("predictions")
    ]
    labels = [record for record in flights if record.topic == "flight_labels"]
    twice = [replace_truth(label) for label in labels[::50]] + labels[1::50]
    return sorted([*served, *labels, *twice], key=lambda record: record.timestamp)


def replace_truth(label: Outgoing) -> Outgoing:
    value = orjson.loads(label.value)
    return label._replace(value=orjson.dumps({**value, "late": not value["late"]}))


def pieces(everything: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Yield a piece for each life of the flow, so that each has work."""
    size = math.ceil(len(everything) / (KILLS + 1))
    for start in range(0, len(everything), size):
        yield everything[start : start + size]


def is_due(running: Running, broker: Broker, engine: Engine, target: int) -> bool:
    """Whether the models topic has come to a target, or nothing is left that would make a model."""
    assert running.process.poll() is None, running.said()  # it would not publish any more
    published = broker.offsets(engine.pipeline.topic("models"))[0][1]
    return published >= target or lag(broker, engine, "learn") == 0


def outcome(project: Project) -> tuple[dict, list, Model]:
    """The last metrics, the dead letters with their positions, and the last model."""
    dead = sorted((dict(r.headers)["id"], dict(r.headers)["reason"]) for r in project.records("dead-letters"))
    model = project.engine().sealer().read(project.records("models")[-1]).model
    return project.values("metrics")[-1], dead, model


@pytest.mark.parametrize("patch", [pytest.param(AS_IT_IS, marks=pytest.mark.long), FEW_IN_MEMORY])
def test_a_learner_that_is_killed_ten_times_ends_as_one_that_ran_through(
    project_on_kafka: Project, applied: Project, judged: list[Outgoing], patch: str
) -> None:
    learn = (sys.executable, "-c", patch + RUN)
    project = project_on_kafka.with_settings(HTTP_PORT=0, BATCH=10, EPOCH_SECONDS=0.2, MODEL_SECONDS=0.01)
    engine, random = project.engine(), Random(2)
    models, interrupted = engine.pipeline.topic("models"), 0
    *most, last = pieces(judged)
    assert len(most) == KILLS
    with project.broker() as broker:
        for piece in most:
            project.send(piece)
            target = broker.offsets(models)[0][1] + random.randint(1, 6)
            running = project.start(*learn)
            try:
                wait_until(partial(is_due, running, broker, engine, target), PATIENCE)
            finally:
                running.kill()
            interrupted += lag(broker, engine, "learn") > 0
        project.send(last)
        running = project.start(*learn)
        try:
            wait_until(lambda: lag(broker, engine, "learn") == 0, PATIENCE)
            assert running.stop() == 0, running.said()
        finally:
            running.kill()
    assert interrupted >= KILLS // 2

    clean = applied.copy_to(project.directory.with_name("clean"))
    clean.send(judged)
    run_flow(clean.engine(), "learn")
    (metrics, dead, model), (clean_metrics, clean_dead, clean_model) = outcome(project), outcome(clean)
    assert metrics == clean_metrics
    assert (metrics["labels"], metrics["pending"]) == (EVENTS, 0)
    assert model.learned == EVENTS
    assert dead == clean_dead
    assert {reason for _, reason in dead} == {b"duplicate", b"corrected"}
    names = engine.pipeline.feature_names(engine.state.plan())
    for record in clean.records("predictions"):
        features = dict(zip(names, predictions.decode(record).features, strict=True))
        assert model.score(features) == clean_model.score(features)
