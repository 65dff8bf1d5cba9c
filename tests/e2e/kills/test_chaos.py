"""The short form of scripts/chaos; its verifier must fail when a guarantee is switched off."""

import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from harness import PATIENCE, DurableRedis, Project, Running, lag, wait_until

from flows.core.stream.broker import Outgoing
from scripts.faults import chaos, flights, verify
from scripts.faults.checks.check import Check
from scripts.faults.kills import Chaos
from scripts.faults.plan import Plan
from scripts.faults.site import Log, fresh_site

EVENTS, KILLS, SEED = 900, 3, 1
BACKLOG = 300  # records; else the predictor has read all before it is killed
# too few events for a drift, so the other flows have no work; tests/e2e/kills/test_kills.py kills those
KILLED = ("predict", "learn", "materialize")
PARTED = 300  # flights of the tests of the verifier

# What is put before a flow in its process: each switches one guarantee off.
AS_IT_IS = pytest.param("", marks=pytest.mark.long)  # then nothing is found, as by the short form
RUN = "import sys; from flows.runtime.runner import SINGLE, main; sys.exit(main([{flow!r}], SINGLE))"
NO_SUPPRESSION = """
from flows.adapters.bytewax.sink import SlotSink
SlotSink.is_written = lambda self, record: False
"""
# an idle flow must not send what it has written either, so that it stays in the client
NO_ACKNOWLEDGEMENT = """
from flows.adapters.bytewax import sink
from flows.adapters.kafka.producer import KafkaProducer
KafkaProducer._drain = lambda *_: None
sink._SEND = 0.0
"""
NO_LABEL_GUARD = """
from flows.core.evaluation.label_join import LabelJoin
LabelJoin.repetition = lambda self, label: None
"""
NO_GUARD_AND_PREDICTIONS_STAY = (
    NO_LABEL_GUARD
    + """
def labelled(self, label):
    pending = self._pending.pop(label.id)
    if pending is None:
        return None
    self._pending.add(pending)
    return self._joined(pending, label)
LabelJoin.labelled = labelled
"""
)


def test_three_kills_and_a_supervisors_lose_and_repeat_nothing(
    kafka: str, durable_redis: DurableRedis, tmp_path: Path
) -> None:
    servers = {"DRIFTLINE_BROKER": f"kafka://{kafka}", "DRIFTLINE_REDIS": durable_redis.address}
    site = fresh_site(tmp_path / "project", {**chaos.SETTINGS, **servers, "DRIFTLINE_BATCH": "50"})
    plan = Plan(EVENTS, KILLS, SEED, KILLED, BACKLOG)
    run = Chaos(site, plan, 6 * PATIENCE, print, lambda *_: None)
    run.run(flights.records(EVENTS))
    assert set(run.by_flow()) == set(KILLED)
    checks = [
        *chaos.killed(run, KILLS),
        *verify.verify(site, tmp_path / "clean", 4 * PATIENCE),
    ]
    chaos.console.print(chaos.kills_table(run))
    assert chaos.report(checks) == 0
    # the windows of a day fill in these events, so that no drift is looked for yet; nobody commands
    assert [check.name for check in checks if not check.checked] == [
        "duplicated: records of drift",
        "registry: commands that are not answered once",
    ]


# Mutations: what the verifier says when a guarantee is switched off in the flow's process


@pytest.fixture
def counting(applied: Project, tmp_path: Path, kafka: str) -> Project:
    """The pipeline of scripts/chaos on Kafka, with empty topics."""
    project = applied.copy_to(tmp_path / "counting")
    shutil.copy(Path(chaos.__file__).with_name("chaos_pipeline.py"), project.directory)
    toml = 'feature_repo = "feature_repo"\npipelines = ["chaos_pipeline"]\n'
    (project.directory / "driftline.toml").write_text(toml)
    plans = project.directory / ".driftline" / "plans"
    shutil.copy(plans / "flight_delays.json", plans / "chaos.json")
    return project.on_kafka(kafka).with_settings(HTTP_PORT=0, BATCH=20)


def log_of(project: Project) -> "Log":
    running = project.engine()
    return Log(running, running.open_broker())


def failing(project: Project, *checks: Callable[[Log], Check]) -> list[str]:
    """The names of the checks that fail."""
    log = log_of(project)
    with closing(log.broker):
        return [check.__name__ for check in checks if check(log).wrong]


def start(project: Project, flow: str, patch: str) -> Running:
    return project.start(sys.executable, "-c", patch + RUN.format(flow=flow))


def send(project: Project) -> list[Outgoing]:
    sent = [record for record in flights.records(PARTED) if record.topic != "flight_labels"]
    project.send(sent)
    return sent


def stored_epochs(project: Project, flow: str) -> int:
    """How many epochs of the flow are stored for good."""
    newest = 0
    for file in project.engine().state.recovery_dir(flow).glob("part-*.sqlite3"):
        with closing(sqlite3.connect(file)) as part:
            newest = max(
                newest, *(e or 0 for (e,) in part.execute("SELECT max(worker_frontier) FROM fronts"))
            )
    return newest


def read_all(project: Project, flow: str) -> bool:
    with project.broker() as broker:
        return lag(broker, project.engine(), flow) == 0


@pytest.mark.parametrize("patch", [AS_IT_IS, NO_SUPPRESSION], ids=["as-it-is", "no-suppression"])
def test_without_suppression_on_resume_the_verifier_finds_predictions_twice(
    counting: Project, patch: str
) -> None:
    send(counting)
    project = counting.with_settings(EPOCH_SECONDS=3_600)  # no state before the kill
    first = start(project, "predict", patch)
    try:
        wait_until(lambda: len(project.records("predictions")) > PARTED // 2, PATIENCE)
    finally:
        first.kill()
        first.process.wait()
    forget(project, "predict")
    second = start(project, "predict", patch)
    try:
        wait_until(lambda: read_all(project, "predict"), PATIENCE)
        assert second.stop() == 0, second.said()
    finally:
        second.kill()
    found = failing(project, verify.lost, verify.predicted_twice)
    assert found == (["predicted_twice"] if patch else [])


@pytest.mark.parametrize("patch", [AS_IT_IS, NO_ACKNOWLEDGEMENT], ids=["as-it-is", "no-acknowledgement"])
def test_without_acknowledgement_before_the_snapshot_the_verifier_finds_predictions_lost(
    counting: Project, patch: str
) -> None:
    send(counting)
    # what is not waited for stays in the client for as long as it may linger
    project = counting.with_settings(EPOCH_SECONDS=0.1, KAFKA_LINGER_MS=100_000 if patch else 5)
    first = start(project, "predict", patch)
    try:
        wait_until(lambda: read_all(project, "predict"), PATIENCE)
        epoch = stored_epochs(project, "predict")
        wait_until(lambda: stored_epochs(project, "predict") > epoch + 2, PATIENCE)
    finally:
        first.kill()
        first.process.wait()
    forget(project, "predict")
    second = start(counting, "predict", "")
    try:
        wait_until(lambda: read_all(project, "predict"), PATIENCE)
        assert second.stop() == 0, second.said()
    finally:
        second.kill()
    found = failing(project, verify.lost, verify.predicted_twice)
    assert found == (["lost"] if patch else [])


def forget(project: Project, flow: str) -> None:
    log = log_of(project)
    with closing(log.broker):
        log.forget_progress(flow)


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        pytest.param("", [], marks=pytest.mark.long),
        # a repeated label finds no waiting prediction: it is not learned, but its dead letter is missing
        pytest.param(NO_LABEL_GUARD, ["dead_letters"], marks=pytest.mark.long),
        (NO_GUARD_AND_PREDICTIONS_STAY, ["dead_letters", "learned_once", "model_of_a_fold"]),
    ],
    ids=["as-it-is", "no-label-guard", "no-label-guard-and-predictions-stay"],
)
def test_without_the_guard_against_repeated_labels_the_verifier_finds_it(
    counting: Project, patch: str, expected: list[str]
) -> None:
    everything = [record for record in flights.records(PARTED) if not record.key.startswith(b"bad-")]
    events = [record for record in everything if record.topic != "flight_labels"]
    counting.send(events)
    first = start(counting, "predict", "")
    try:
        wait_until(lambda: read_all(counting, "predict"), PATIENCE)
        assert first.stop() == 0, first.said()
    finally:
        first.kill()
    counting.send([record for record in everything if record.topic == "flight_labels"])
    learner = start(counting, "learn", patch)
    try:
        wait_until(lambda: read_all(counting, "learn"), PATIENCE)
        assert learner.stop() == 0, learner.said()
    finally:
        learner.kill()
    checks = (
        verify.lost,
        verify.dead_letters,
        verify.learned_once,
        verify.model_of_a_fold,
    )
    assert failing(counting, *checks) == expected
