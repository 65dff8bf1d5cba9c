"""A project whose flows have scored, learned and materialized flights, for tests of `driftline serve`."""

from pathlib import Path

import materializing
from harness import Project, run_flow
from made_flights import traffic

from flows.core.models.model import Model, ModelMessage
from flows.core.stream.broker import Outgoing
from flows.jobs.models.versions import newest_messages
from flows.runtime.engine import Engine

FLIGHTS = 120


def flown(applied: Project, directory: Path) -> Project:
    """Return a copy of the project, after all flows but alert and retrain have read `FLIGHTS` flights."""
    project = applied.copy_to(directory)
    project.apply_feast()
    project.send(traffic(FLIGHTS))
    running = project.engine()
    run_flow(running, "predict")
    run_flow(running, "learn")
    materializing.run(running)
    return project


def assessments(project: Project) -> list[dict]:
    """Return the metrics messages with an assessment, which the learner publishes after a pause."""
    return [value for value in project.values("metrics") if "assessment" in value]


def champion(running: Engine) -> Model:
    """Return the newest champion on the models topic."""
    sealer = running.sealer()
    broker = running.open_broker()
    newest = newest_messages(running.pipeline, broker, sealer).by_version.values()
    broker.close()
    announced = max((each for each in newest if each.role == "champion"), key=lambda each: each.sequence)
    return sealer.load(announced)


def american_champion(running: Engine, version: str, sequence: int) -> Outgoing:
    """Return the message of a champion that knows flights by American to be late."""
    model = Model(version, running.pipeline.model())
    names = running.pipeline.feature_names(running.state.plan())
    empty = {name: 0 if "count" in name else None for name in names} | {"minute_of_day": 600}
    for number in range(20):
        model.learn(empty | {"carrier": "AA" if number % 2 else "UA"}, bool(number % 2))
    message = ModelMessage(running.pipeline.name, "champion", 0, model, {}, sequence)
    return running.sealer().record(running.pipeline.topic("models"), message)
