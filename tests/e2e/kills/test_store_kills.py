"""`kill -9` of Redis and the flows that feed it: the online store equals that of a run without kills."""

import os
import signal
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest
from harness import PATIENCE, DurableRedis, Project, Running, lag, run_flow, wait_until
from redis import Redis

from flows.core.stream.broker import Broker, Outgoing
from flows.pipelines.flights_data import records
from flows.runtime.engine import Engine

EVENTS = 450
FEATURES = "flight_delays.features"


@pytest.fixture(scope="module")
def flights() -> list[Outgoing]:
    return [record for record in records(EVENTS) if record.topic != "flight_labels"]


@pytest.fixture(scope="module")
def clean(applied: Project, flights: list[Outgoing], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the flights were predicted and nothing happened. For copying only."""
    clean = applied.copy_to(tmp_path_factory.mktemp("clean") / "project")
    clean.send(flights)
    run_flow(clean.engine(), "predict")
    return clean


def contents_of_a_clean_run(clean: Project, project: Project, store: dict[str, str]) -> tuple[object, object]:
    """Return the content of the store after the block, and empty Redis."""
    from flows.materialize import build  # imports Feast

    clean = clean.copy_to(project.directory.with_name("clean")).with_settings(**store)
    clean.apply_feast()
    run_flow(clean.engine(), "materialize", build=build)
    found = contents(clean)
    if "REDIS" in store:
        with client(clean) as redis:
            redis.flushall()
    return found


def contents(project: Project) -> tuple[object, object]:
    """All that the online store has: as Feast gives it, and as it lies there."""
    return read_by_feast(project), raw(project)


def read_by_feast(project: Project) -> dict[str, dict]:
    """The features of each view with their times, for every key there is."""
    from feast import FeatureStore

    yaml = project.environment["DRIFTLINE_FEATURE_STORE"]
    repo, engine = project.directory / "feature_repo", project.engine()
    store = FeatureStore(repo_path=str(repo), fs_yaml_file=repo / yaml)
    events = project.values(engine.pipeline.events.topic)
    answers = {}
    for view in engine.state.plan().views:
        keys = sorted({event[view.entity] for event in events} - {None})
        answers[view.name] = store.get_online_features(
            features=[f"{view.name}:{a.name}" for a in view.aggregates],
            entity_rows=[{view.entity: key} for key in keys],
        ).to_dict(include_event_timestamps=True)
        assert any(answers[view.name][view.aggregates[0].name])
    return answers


def raw(project: Project) -> object:
    if "DRIFTLINE_REDIS" in project.environment:
        with client(project) as redis:
            return {key: redis.hgetall(key) for key in redis.scan_iter()}
    with closing(sqlite3.connect(project.directory / ".driftline" / "feast" / "online.db")) as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: set(store.execute(f'SELECT * FROM "{table}"')) for table in tables}  # noqa: S608


def client(project: Project) -> Redis:
    return Redis.from_url(f"redis://{project.environment['DRIFTLINE_REDIS']}")


class Run:
    """A run of predictor and materialize flow into which records are sent bit by bit."""

    def __init__(self, project: Project, running: Running, broker: Broker) -> None:
        self._project = project
        self._engine: Engine = project.engine()
        self._broker = broker
        self.running = running

    def send(self, records: Sequence[Outgoing]) -> None:
        self._project.send(records)

    def left(self, flow: str) -> int:
        return lag(self._broker, self._engine, flow)

    def is_done(self) -> bool:
        return not self.left("predict") and not self.left("materialize")

    def predicted(self) -> int:
        return self._broker.offsets(self._engine.pipeline.topic("predictions"))[0][1]

    def materialized(self) -> int:
        return self._broker.committed(self._engine.pipeline.group("materialize"), FEATURES).get(0, 0)

    def kill(self, flow: str) -> None:
        """Kill the flow, and wait until the supervisor has started it again."""
        pid = self.running.pids()[flow]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.running.pids()[flow] != pid, PATIENCE)


def contents_of_a_run(
    project: Project, store: dict[str, str], happens: Callable[[Run], None]
) -> tuple[object, object]:
    """Return the content of the store after a run of the two flows with this fault."""
    project = project.with_settings(HTTP_PORT=0, BATCH=20, EPOCH_SECONDS=0.1, **store)
    project.apply_feast()
    with project.flows("predict", "materialize") as running, project.broker() as broker:
        run = Run(project, running, broker)
        happens(run)
        wait_until(run.is_done, PATIENCE)
        assert running.stop() == 0, running.said()
    return contents(project)


def test_a_redis_and_flows_that_are_killed_leave_in_it_what_a_clean_run_leaves(
    project: Project, clean: Project, flights: list[Outgoing], durable_redis: DurableRedis
) -> None:
    store = {"FEATURE_STORE": "feature_store.redis.yaml", "REDIS": durable_redis.address}
    expected = contents_of_a_clean_run(clean, project, store)
    half = len(flights) // 2

    def happens(run: Run) -> None:
        run.send(flights[:half])
        wait_until(lambda: run.predicted() > 50, PATIENCE)
        run.kill("predict")
        wait_until(lambda: run.materialized() > 100, PATIENCE)
        durable_redis.end(signal.SIGKILL)
        run.send(flights[half:])
        wait_until(lambda: "trying again" in run.running.said(), PATIENCE)
        durable_redis.start()
        run.kill("materialize")

    assert contents_of_a_run(project, store, happens) == expected


@pytest.mark.long
def test_flows_that_are_killed_leave_in_sqlite_what_a_clean_run_leaves(
    project: Project, clean: Project, flights: list[Outgoing]
) -> None:
    store = {"FEATURE_STORE": "feature_store.yaml"}
    expected = contents_of_a_clean_run(clean, project, store)
    half = len(flights) // 2

    def happens(run: Run) -> None:
        run.send(flights[:half])
        wait_until(lambda: run.predicted() > 50, PATIENCE)
        run.kill("predict")
        wait_until(lambda: run.materialized() > 100, PATIENCE)
        run.kill("materialize")
        run.send(flights[half:])

    assert contents_of_a_run(project, store, happens) == expected
