"""`kill -9` of every flow in the middle of a run on Kafka."""

import os
import signal
from collections import Counter

import orjson
import pytest
from harness import PATIENCE, Project, Running, lag, run_flow, wait_until
from made_flights import HOUR, NOON
from signals import outgoing
from signals import signal as drift_signal

from flows.adapters.http.receiver import Receiver
from flows.core.features.windows.sliding import WindowState, windows_of
from flows.core.stream.broker import Outgoing
from flows.pipelines.flights_data import records
from flows.runtime.runner import FLOWS

EVENTS = 1000  # more than a day: within the label wait, so that labels may stand in the log beforehand
WEBHOOK_SECRET = "whsec_" + "MDEy" * 8
SIGNAL = drift_signal(7, NOON - 12 * HOUR)
NAME = f"v{SIGNAL.sequence + 1}"  # begins the versions of its candidates


@pytest.fixture(scope="module")
def flights() -> list[Outgoing]:
    return list(records(EVENTS))


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

            def candidates() -> list[bytes | None]:
                """The versions of the candidates for the signal."""
                candidate = ("role", b"candidate")
                return [record.key for record in project.records("models") if candidate in record.headers]

            def materialized() -> bool:
                return any(broker.committed(engine.pipeline.group("materialize"), features).values())

            wait_until(lambda: written("predictions") > 100, PATIENCE)
            kill(running, "predict")
            # as many as a candidate needs; the retrain flow may read them before the predict flow goes on
            wait_until(lambda: written("predictions") > engine.pipeline.retrain.minimum_labels, PATIENCE)
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
            expected = [f"{NAME}-fresh".encode(), f"{NAME}-warm".encode()]
            wait_until(lambda: sorted(candidates()) == expected, 2 * PATIENCE)
            assert running.stop() == 0, running.said()

    assert Counter(p["id"] for p in project.values("predictions")) == Counter(
        r.key.decode() for r in flights if r.topic == "flights"
    )
    assert project.records("dead-letters") == []
    *_, last = project.values("metrics")
    assert (last["labels"], last["pending"], last["expired"]) == (EVENTS, 0, 0)
    models = [engine.sealer().read(record) for record in project.records("models")]
    learned = [m.model.learned for m in models if m.model.version == "v1" and m.role == "champion"][-1]
    assert learned == EVENTS
    asked = [m.model.version for m in models if m.role == "candidate" and m.time == SIGNAL.time]
    assert sorted(asked) == [f"{NAME}-fresh", f"{NAME}-warm"]
    assert [alert["id"] for alert in receiver.alerts] == [SIGNAL.id]

    clean = applied.copy_to(project.directory.with_name("clean"))
    clean.send(flights)
    run_flow(clean.engine(), "predict")
    served = {p["id"]: p["features"] for p in project.values("predictions")}
    assert served == {p["id"]: p["features"] for p in clean.values("predictions")}
    nothing_is_missing_online(project, flights)


def nothing_is_missing_online(project: Project, flights: list[Outgoing]) -> None:
    """What a Feast client reads is right as of its time, which is not before the newest record's."""
    from feast import FeatureStore

    store = FeatureStore(str(project.directory / "feature_repo"))
    for view in project.engine().state.plan().views:
        windows: dict[str, WindowState] = {}
        newest: dict[str, int] = {}
        for record in flights:
            payload = orjson.loads(record.value)
            if record.topic == view.stream and (key := payload[view.entity]):
                values = [payload[column] for column in view.columns]
                windows.setdefault(key, windows_of(view, 0)()).add(
                    record.timestamp, payload["flight_id"], values
                )
                newest[key] = record.timestamp
        answer = store.get_online_features(
            features=[f"{view.name}:{a.name}" for a in view.aggregates],
            entity_rows=[{view.entity: key} for key in windows],
        ).to_dict(include_event_timestamps=True)
        assert len(windows) > 2
        for number, (key, window) in enumerate(windows.items()):
            time = 1000 * answer[f"{view.aggregates[0].name}__ts"][number]
            assert time >= newest[key], (view.name, key)
            assert [answer[a.name][number] for a in view.aggregates] == window.ask(time), (view.name, key)
