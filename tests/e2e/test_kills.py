"""`kill -9` of every flow in the middle of a run on Kafka."""

import os
import signal
from collections import Counter

import pytest
from harness import PATIENCE, Project, Running, lag, run_flow, wait_until
from made_flights import HOUR, NOON
from signals import outgoing
from signals import signal as drift_signal

from flows.adapters.receiver import Receiver
from flows.core.broker import Outgoing
from flows.core.feature_rows import decode
from flows.core.features import Row
from flows.pipelines.flights_data import records
from flows.runner import FLOWS

EVENTS = 2000  # two days and a half: within the label wait, so that labels may stand in the log beforehand
WEBHOOK_SECRET = "whsec_" + "MDEy" * 8
SIGNAL = drift_signal(7, NOON - 12 * HOUR)


@pytest.fixture(scope="module")
def flights() -> list[Outgoing]:
    return list(records(EVENTS))


def newest_rows(project: Project) -> dict[tuple[str, str], Row]:
    """For each view and key the row that the online store has to hold in the end."""
    newest: dict[tuple[str, str], Row] = {}
    for record in project.records("features"):
        for row in decode(record):
            known = newest.get((row.view, row.key))
            if known is None or row.time >= known.time:
                newest[row.view, row.key] = row
    return newest


def kill(running: Running, flow: str) -> None:
    """Kill the flow, and wait until the supervisor has started it again."""
    pid = running.pids()[flow]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: running.pids()[flow] != pid, PATIENCE)


def test_a_kill_of_each_flow_loses_nothing_and_repeats_nothing(
    project_on_kafka: Project, applied: Project, flights: list[Outgoing]
) -> None:
    project = project_on_kafka
    features = "flight_delays.features"
    project.apply_feast()
    project.send(flights)
    with Receiver(WEBHOOK_SECRET) as receiver:
        settings = {
            "HTTP_PORT": 0,
            "BATCH": 50,  # so that there is a middle of the run
            "EPOCH_SECONDS": 0.5,
            "WEBHOOK_URL": receiver.url,
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
            "WEBHOOK_ALLOW_PRIVATE": "true",
        }
        project = project.with_settings(**settings)
        engine = project.engine()
        with project.flows() as running, project.broker() as broker:

            def left(flow: str) -> int:
                return lag(broker, engine, flow)

            def written(kind: str) -> int:
                return broker.offsets(engine.pipeline.topic(kind))[0][1]

            def materialized() -> bool:
                return any(broker.committed(engine.pipeline.group("materialize"), features).values())

            wait_until(lambda: written("predictions") > 100, PATIENCE)
            kill(running, "predict")
            wait_until(lambda: written("predictions") > 700, PATIENCE)
            # it would be done before the others have begun
            os.kill(running.pids()["predict"], signal.SIGSTOP)
            assert left("predict") > 0
            wait_until(lambda: written("metrics") > 0, PATIENCE)
            kill(running, "learn")
            wait_until(lambda: left("retrain") == 0 and left("alert") == 0, PATIENCE)
            project.send([outgoing(SIGNAL)])
            kill(running, "retrain")
            wait_until(lambda: len(receiver.alerts) > 0, PATIENCE)
            kill(running, "alert")
            wait_until(materialized, PATIENCE)
            kill(running, "materialize")
            os.kill(running.pids()["predict"], signal.SIGCONT)
            wait_until(lambda: written("predictions") >= EVENTS and not any(map(left, FLOWS)), PATIENCE)
            wait_until(lambda: project.values("metrics")[-1]["labels"] == EVENTS)
            assert running.stop() == 0, running.said()

    assert Counter(p["id"] for p in project.values("predictions")) == Counter(
        r.key.decode() for r in flights if r.topic == "flights"
    )
    assert project.records("dead-letters") == []
    *_, last = project.values("metrics")
    assert (last["labels"], last["pending"], last["expired"]) == (EVENTS, 0, 0)
    models = [engine.sealer().read(record) for record in project.records("models")]
    assert [m.model.learned for m in models if m.model.version == "v1" and m.role == "champion"][-1] == EVENTS
    assert (
        len([m for m in models if m.model.version == f"v{SIGNAL.sequence + 1}" and m.time == SIGNAL.time])
        == 1
    )
    assert [alert["id"] for alert in receiver.alerts] == [SIGNAL.id]

    clean = applied.copy_to(project.directory.with_name("clean"))
    clean.send(flights)
    run_flow(clean.engine(), "predict")
    served = {p["id"]: p["features"] for p in project.values("predictions")}
    assert served == {p["id"]: p["features"] for p in clean.values("predictions")}
    compare_online(project, newest_rows(clean))


def compare_online(project: Project, expected: dict[tuple[str, str], Row]) -> None:
    """What a Feast client reads is what a run without kills would have stored."""
    from feast import FeatureStore

    store = FeatureStore(str(project.directory / "feature_repo"))
    plan = project.engine().plan()
    for view in plan.views:
        rows = [row for (name, _), row in expected.items() if name == view.name]
        assert rows
        answer = store.get_online_features(
            features=[f"{view.name}:{a.name}" for a in view.aggregates],
            entity_rows=[{view.entity: row.key} for row in rows],
        ).to_dict()
        found = [[answer[a.name][number] for a in view.aggregates] for number in range(len(rows))]
        assert found == [row.values for row in rows], view.name
