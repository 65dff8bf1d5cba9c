"""A model larger than a message: it is published by reference, on both brokers."""

import random
from pathlib import Path
from typing import Any

import pytest
from harness import Project, run_flow
from labelled_world import world
from made_flights import HOUR, NOON, event

from flows.core.models.model import Model
from flows.core.stream.broker import Outgoing
from flows.pipelines import flight_delays
from flows.runtime.engine import Engine

BALLAST = random.Random(1).randbytes(1_600_000)  # more than Kafka takes as a message
LABELS = 60


def large_model() -> Any:
    model = flight_delays.model()
    model["LogisticRegression"].ballast = BALLAST
    return model


def last_of(running: Engine, project: Project) -> Model:
    return running.sealer().read(project.records("models")[-1]).model


def served(project: Project, flight: str) -> dict[str, Any]:
    return {p["id"]: p for p in project.values("predictions")}[flight]


def ask(project: Project, running: Engine, flight: str, time: int) -> dict[str, Any]:
    project.send([event(flight, time)])
    run_flow(running, "predict")
    return served(project, flight)


def artifacts(project: Project) -> list[Path]:
    """Return the artifacts of models in service."""
    return sorted((project.directory / ".driftline" / "artifacts" / "flight_delays").glob("model-*"))


def dead(project: Project) -> list[tuple[bytes, bytes]]:
    headers = (dict(letter.headers) for letter in project.records("dead-letters"))
    return [(h["reason"], h["detail"]) for h in headers if h["topic"] == b"flight_delays.models"]


def test_a_model_larger_than_a_message_is_learned_published_and_served_and_a_lost_one_is_told(
    project_on: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project = project_on
    running = project.with_settings(MODEL_SECONDS=0.01).engine(model=large_model)
    project.send(world(running, LABELS))
    run_flow(running, "learn")
    records = project.records("models")
    assert max(len(record.value) for record in records) < 1000
    assert len(artifacts(project)) == len(records)
    champion = last_of(running, project)
    assert (champion.learned, champion.estimator["LogisticRegression"].ballast) == (LABELS + 1, BALLAST)
    warned = [r.getMessage() for r in caplog.records if r.name == "driftline.models"]
    assert len(warned) == 1
    assert "model v1 has 1,6" in warned[0]

    answer = ask(project, running, "A", NOON + 12 * HOUR)
    names = running.pipeline.feature_names(running.state.plan())
    features = dict(zip(names, answer["features"], strict=True))
    assert answer["score"] == champion.score(features) != running.pipeline.new_model().score(features)
    assert dead(project) == []

    for file in artifacts(project):
        file.unlink()
    running.state.recovery_dir("predict").rename(project.directory / "lost")
    again = ask(project, running, "B", NOON + 13 * HOUR)
    assert again["score"] == running.pipeline.new_model().score(features)
    assert {reason for reason, _ in dead(project)} == {b"signature"}
    assert all(b"is not in the artifact store" in detail for _, detail in dead(project))
    assert len(dead(project)) == len(records)


def test_a_state_that_holds_a_large_model_is_stored_and_resumed_without_its_artifact(
    project: Project,
) -> None:
    running = project.engine(model=large_model)
    project.send(world(running, LABELS))
    run_flow(running, "learn")
    champion = last_of(running, project)
    ask(project, running, "A", NOON + 12 * HOUR)
    for file in artifacts(project):
        file.unlink()
    project.send([Outgoing("flight_delays.models", b"{}", timestamp=NOON + 13 * HOUR)])
    answer = ask(project, running, "B", NOON + 14 * HOUR)
    features = dict(
        zip(running.pipeline.feature_names(running.state.plan()), answer["features"], strict=True)
    )
    assert answer["score"] == champion.score(features)
    assert [reason for reason, _ in dead(project)] == [b"signature"]
