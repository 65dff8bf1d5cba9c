"""The learn flow: its output equals that of the core on the same records."""

import io
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

import orjson
import pytest
from harness import CrashAfter, Project, run_flow, wait_until
from labelled_world import CHANGE, DECLARED, FLIGHTS, world
from made_flights import HOUR, MINUTE, NOON, label, prediction, served
from made_parted import PARTITIONS, in_partitions
from metric_values import value_of

from flows.adapters.prometheus import metrics as telemetry
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation import learned_truths, pending
from flows.core.evaluation.label_join import Label
from flows.core.learning.events import DeadLabel
from flows.core.learning.learner import Learner, position
from flows.core.models.model import Model, ModelMessage, Role
from flows.core.models.snapshots import Sealer
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Broker, Outgoing, Record
from flows.core.stream.decode import Decoder
from flows.errors import SnapshotError, StateError
from flows.host import block_files
from flows.policies import DriftPolicy
from flows.runtime.engine import Engine
from flows.runtime.learner import new_learner
from flows.runtime.telemetry import Telemetry

SECRET = "one secret for both of the projects"  # noqa: S105


@dataclass(frozen=True)
class Observed(Engine):
    """An engine that notes each state that a flow stores."""

    states: list[bytes] = field(default_factory=list)

    def sealer(self) -> Sealer:
        sealer = super().sealer()
        seal = sealer.seal_state

        def note(state: object) -> bytes:
            self.states.append(seal(state))
            return self.states[-1]

        sealer.seal_state = note  # type: ignore[method-assign]
        return sealer


def drive(running: Engine, project: Project) -> tuple[Learner, list[object]]:
    """The same records through the core, in the order of their time."""
    pipeline = running.pipeline
    learner = new_learner(running.pipeline, running.state.plan())
    decoder = Decoder(pipeline.labels.id, pipeline.labels.time, pipeline.labels.fields)
    records: list[Record] = project.records("flight_labels") + project.records("predictions")
    happenings: list[object] = []
    for item in sorted(records, key=lambda r: (r.timestamp, r.topic != "flight_labels")):
        if item.topic != "flight_labels":
            happenings += learner.predicted(predictions.decode(item), position(item))
        elif b'"yes"' not in item.value and item.value != b"\xff":
            event_id, time, payload = decoder.decode(item)
            happenings += learner.labelled(Label(event_id, time, payload["late"], item))
    return learner, happenings


def weights(model: Model) -> dict[str, float]:
    return dict(model.estimator["LogisticRegression"].weights)


def test_metrics_models_drift_and_dead_letters_are_those_of_the_core(project_on: Project) -> None:
    running = project_on.with_settings(BATCH=100).engine(**DECLARED)
    project_on.send(world(running))
    run_flow(running, "learn")
    learner, happenings = drive(running, project_on)

    *_, last = project_on.values("metrics")
    assert last["labels"] == FLIGHTS + 1
    assert last["metrics"] == learner.evaluation.values()
    assert last["assessment"] == orjson.loads(orjson.dumps(learner.evaluation.assessment()))
    assert (last["pending"], last["expired"]) == (0, 0)
    signals = [h for h in happenings if isinstance(h, DriftSignal)]
    assert len(signals) == 1
    assert [r.value for r in project_on.records("drift")] == [s.to_json() for s in signals]
    snapshot = running.sealer().read(project_on.records("models")[-1])
    assert (snapshot.role, snapshot.model.version, snapshot.model.learned) == ("champion", "v1", FLIGHTS + 1)
    assert weights(snapshot.model) == weights(learner.champion)
    reasons = [dict(letter.headers)["reason"] for letter in project_on.records("dead-letters")]
    dead = [h.reason.encode() for h in happenings if isinstance(h, DeadLabel)]
    assert sorted(reasons) == sorted([*dead, b"schema", b"not-json"])
    assert sorted(dead) == [b"corrected", b"unknown-event"]


def test_predictions_that_no_label_comes_for_are_bounded_counted_and_warned_of_once(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running = project.with_settings(BATCH=20).engine(max_pending=100)
    random, before = Random(3), value_of(telemetry.PENDING_EVICTED)
    answers = [served(running, f"F{n:05}", NOON + n * MINUTE, True, True, random) for n in range(250)]
    project.send([prediction(running, answer) for answer in answers])
    run_flow(running, "learn")
    assert value_of(telemetry.PENDING_LABELS) == 100
    assert value_of(telemetry.PENDING_EVICTED) - before == 150
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "driftline.learn"]
    assert "max_pending = 100" in warning

    again = project.engine(max_pending=70)  # the limit is that of today's declaration, not of the state
    project.send([prediction(again, served(again, "late", NOON + HOUR * 5, True, True, random))])
    run_flow(again, "learn")
    assert value_of(telemetry.PENDING_LABELS) == 70


def test_scores_that_move_are_a_signal_of_prediction_drift_on_the_drift_topic(project: Project) -> None:
    policy = DriftPolicy(period=timedelta(hours=1), kinds=("prediction",), warm_up=1)
    running = project.engine(drift=policy)
    random, records, full = (
        Random(5),
        [],
        1441,
    )  # flights until the windows of a day are full and one is learned
    for number in range(full + 5400):
        answer = served(running, f"F{number:05}", NOON + number * MINUTE, True, True, random)
        score = random.random() / (1 if number < full + 4200 else 3)
        records.append(prediction(running, answer._replace(score=score)))
    records.insert(full, label(f"F{full - 1:05}", NOON + (full - 1) * MINUTE, True))
    project.send(records)
    run_flow(running, "learn")
    _, happenings = drive(running, project)
    (signal,) = [DriftSignal.from_json(r.value) for r in project.records("drift")]
    assert happenings == [signal]
    assert (signal.kind, signal.level, signal.status) == ("prediction", "alarm", "firing")
    assert (signal.topic, signal.offset) == ("flight_delays.predictions", full + 4096 + 1000 - 1)
    assert signal.columns[0].name == "prediction"
    assert signal.estimate_after < signal.estimate_before

    is_open = telemetry.DRIFT_OPEN.labels("prediction", signal.severity)
    assert value_of(is_open) == 1
    is_open.set(0)  # a new process begins so
    project.send([prediction(running, answer._replace(id="next"))])
    run_flow(running, "learn")
    assert value_of(is_open) == 1


def test_snapshots_carry_the_signature_of_the_project_and_of_no_other(project: Project) -> None:
    running = project.engine(**DECLARED)
    project.send(world(running, 100))
    run_flow(running, "learn")
    snapshots = project.records("models")
    assert snapshots
    stranger = Sealer(b"another secret" * 3, [running.pipeline.new_model().estimator])
    for snapshot in snapshots:
        assert running.sealer().read(snapshot).pipeline == "flight_delays"
        with pytest.raises(SnapshotError):
            stranger.read(snapshot)


def challenger(running: Engine, labels: int) -> Outgoing:
    random, names = Random(3), running.pipeline.feature_names(running.state.plan())
    model = Model("v2", running.pipeline.model())
    for _ in range(labels):
        truth = random.random() < 0.4
        taught = served(running, "", NOON, truth, True, random)
        model.learn(dict(zip(names, taught.features, strict=True)), truth)
    message = ModelMessage(
        "flight_delays", "candidate", NOON - 1, model, {"drift": "drift_1", "parent": "v1"}, 1
    )
    return running.sealer().record(running.pipeline.topic("models"), message)


def test_a_challenger_learns_on_and_is_promoted_when_its_shadow_scores_are_better(project: Project) -> None:
    running = project.with_settings(BATCH=100, MODEL_SECONDS=0.01).engine(**DECLARED)
    project.send([challenger(running, labels=50)])
    project.send(world(running, shadow="v2"))
    run_flow(running, "learn")
    messages = [running.sealer().read(r) for r in project.records("models")][1:]
    roles = [(m.model.version, m.role) for m in messages]
    promotion, retirement = roles.index(("v2", "champion")), roles.index(("v1", "retired"))
    assert promotion < retirement
    learned = [m.model.learned for m in messages if m.role == "challenger"]
    assert learned == sorted(learned)
    assert set(roles[:promotion]) == {("v1", "champion"), ("v2", "challenger")}
    assert set(roles[retirement + 1 :]) == {("v2", "champion")}
    assert messages[-1].model.learned == 50 + FLIGHTS + 1
    assert messages[-1].lineage == {"drift": "drift_1", "parent": "v1"}
    assert messages[retirement].model.learned == 100 + 1  # ten blocks, and the flight without a shadow score
    assert project.values("metrics")[-1]["model"] == "v2"


def test_a_worse_challenger_is_retired(project: Project) -> None:
    running = project.engine(**DECLARED)
    project.send([challenger(running, labels=50)])
    project.send([with_shadow(r, Random(r.timestamp).random()) for r in world(running, CHANGE)])
    run_flow(running, "learn")
    messages = [running.sealer().read(r) for r in project.records("models")][1:]
    assert ("v2", "retired") in [(m.model.version, m.role) for m in messages]
    assert (messages[-1].model.version, messages[-1].role) == ("v1", "champion")


def with_shadow(out: Outgoing, score: float) -> Outgoing:
    if out.topic == "flight_labels":
        return out
    return out._replace(value=orjson.dumps(orjson.loads(out.value) | {"shadows": {"v2": score}}))


@pytest.mark.parametrize("crashes", [(1,), (3, 5), (2, 2, 2)])
def test_after_crashes_every_label_is_learned_once_and_the_state_is_that_of_a_run_without_them(
    project: Project, applied: Project, crashes: tuple[int, ...]
) -> None:
    project = project.with_settings(BATCH=60, EPOCH_SECONDS=0.1, MODEL_SECONDS=0.01, SECRET=SECRET)
    clean = applied.copy_to(project.directory.with_name("clean")).with_settings(SECRET=SECRET)
    engines = [observed(p.engine(**DECLARED)) for p in (project, clean)]
    for of, running in zip((project, clean), engines, strict=True):
        of.send(world(running))
    for batches in crashes:
        with pytest.raises(RuntimeError):
            run_flow(replace(engines[0], telemetry=CrashAfter(batches)), "learn", until=lambda _: False)
    for running in engines:
        run_flow(running, "learn")

    (crashed, *_), (straight, *_) = (e.sealer().open_state(e.states[-1]) for e in engines)
    assert crashed.evaluation.labels == crashed.champion.learned == FLIGHTS + 1
    assert same_bytes(crashed) == same_bytes(straight)
    assert project.values("metrics")[-1] == clean.values("metrics")[-1]
    sequences = [model["sequence"] for model in project.values("models")]
    assert sequences == sorted(set(sequences))  # also where the crash forgot some
    for topic in ("drift", "dead-letters", "registry"):
        assert [(r.value, r.headers) for r in project.records(topic)] == [
            (r.value, r.headers) for r in clean.records(topic)
        ]


def test_what_waits_long_is_stored_once_in_files_and_survives_crashes(
    project: Project, applied: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = applied.copy_to(project.directory.with_name("clean")).with_settings(SECRET=SECRET)
    clean.send(world(clean.engine(**DECLARED)))
    run_flow(clean.engine(**DECLARED), "learn")

    few_in_memory(monkeypatch)
    project = project.with_settings(BATCH=60, EPOCH_SECONDS=0.1, MODEL_SECONDS=0.01, SECRET=SECRET)
    running = project.engine(**DECLARED)
    project.send(world(running))
    for batches in (3, 5, 2):
        with pytest.raises(RuntimeError):
            run_flow(replace(running, telemetry=CrashAfter(batches)), "learn", until=lambda _: False)
    run_flow(running, "learn")
    files = list(running.state.blocks_dir("learn").iterdir())
    assert 0 < len(files) < 20
    assert {file.stat().st_mode & 0o77 for file in files} == {0}
    assert project.values("metrics")[-1] == clean.values("metrics")[-1]
    for topic in ("drift", "dead-letters", "registry"):
        assert [(r.value, r.headers) for r in project.records(topic)] == [
            (r.value, r.headers) for r in clean.records(topic)
        ]


def few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nearly all predictions and truths be in small blocks, and files be deleted at once."""
    monkeypatch.setattr(pending, "NEWEST", 1)
    monkeypatch.setattr(pending, "ROWS", 2)
    monkeypatch.setattr(learned_truths, "ROWS", 4)
    monkeypatch.setattr(learned_truths, "LEARNED_LIMIT", 50)
    monkeypatch.setattr(block_files, "_FILE_BYTES", 2000)
    monkeypatch.setattr(block_files, "_SECONDS", 0.0)


def test_a_state_whose_files_are_lost_is_refused_with_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_in_memory(monkeypatch)
    running = project.engine(**DECLARED)
    project.send(world(running, 100))
    run_flow(running, "learn")
    shutil.rmtree(running.state.blocks_dir("learn"))
    with pytest.raises(StateError, match="missing or damaged; stop the flows, restore the folder"):
        run_flow(running, "learn", until=lambda _: False)


def observed(running: Engine) -> Observed:
    return Observed(running.project, running.settings, running.pipeline)


def same_bytes(state: object) -> bytes:
    """The state as bytes that do not show which equal strings are one object."""
    written = io.BytesIO()
    pickler = pickle.Pickler(written, protocol=5)
    pickler.fast = True  # without memory of what it wrote before
    pickler.dump(state)
    return written.getvalue()


@pytest.mark.parametrize("batches", [2, 5, 8])
def test_a_settled_contest_stays_settled_after_a_crash(project: Project, batches: int) -> None:
    running = project.with_settings(BATCH=60, EPOCH_SECONDS=0.1, MODEL_SECONDS=0.01).engine(**DECLARED)
    project.send([challenger(running, labels=50)])
    project.send(world(running, shadow="v2"))
    with pytest.raises(RuntimeError):
        run_flow(replace(running, telemetry=CrashAfter(batches)), "learn", until=lambda _: False)
    run_flow(running, "learn")
    verdicts = [
        m for m in (running.sealer().read(r) for r in project.records("models")) if m.role == "retired"
    ]
    assert {m.model.version for m in verdicts} == {"v1"}  # told again after a crash, never otherwise
    assert project.values("metrics")[-1]["model"] == "v2"


class CrashAtGarbage(Telemetry):
    """Lets the flow crash when it reads the bytes `crash`."""

    def read(self, records: Sequence[Record]) -> None:
        if any(record.value == b"crash" for record in records):
            raise RuntimeError("the crash that the test wants")


def test_what_was_learned_but_not_yet_published_when_the_flow_crashed_is_published_by_the_next_one(
    project: Project,
) -> None:
    project = project.with_settings(EPOCH_SECONDS=0.1, MODEL_SECONDS=3600)
    running = observed(project.engine(**DECLARED))
    records = world(running, 200)
    project.send(records[:100])

    def crash_when_all_is_stored(_: Broker) -> bool:
        """The second half comes within the interval between two snapshots: it is learned and stored only."""
        wait_until(lambda: bool(running.states))
        project.send(records[100:])
        wait_until(lambda: running.sealer().open_state(running.states[-1])[0].evaluation.labels == 201)
        stored = len(running.states)
        while len(running.states) < stored + 3:  # each of them means that the epoch before is closed
            project.send([Outgoing("flight_labels", b"?", timestamp=NOON + 9 * HOUR)])
        project.send([Outgoing("flight_labels", b"crash", timestamp=NOON + 10 * HOUR)])
        wait_until(running.drain.is_set, 60)
        return True

    with pytest.raises(RuntimeError):
        run_flow(replace(running, telemetry=CrashAtGarbage()), "learn", until=crash_when_all_is_stored)
    assert running.sealer().read(project.records("models")[-1]).model.learned < 201
    run_flow(running, "learn")
    assert project.values("metrics")[-1]["labels"] == 201
    assert running.sealer().read(project.records("models")[-1]).model.learned == 201


def test_partitions_that_go_back_for_weeks_are_read_beside_one_another_and_no_wait_ends_early(
    project: Project,
) -> None:
    """A month on each of three partitions, where a label is waited for three days."""
    project = in_partitions(project)
    project.make_topics()
    running, random, sent = project.engine(), Random(3), list[Outgoing]()
    for partition in range(PARTITIONS):
        for day in range(30):
            flight, time = f"F{partition}-{day}", NOON + 24 * HOUR * day
            told = prediction(running, served(running, flight, time, day % 2 == 0, True, random))
            sent += [told, label(flight, time + 24 * HOUR, day % 2 == 0)]
            sent[-2:] = [record._replace(partition=partition) for record in sent[-2:]]
    project.send(sent)
    run_flow(running, "learn")
    assert project.records("dead-letters") == []
    *_, last = project.values("metrics")
    assert (last["labels"], last["expired"]) == (30 * PARTITIONS, 0)


def test_a_learner_that_lost_its_state_goes_on_behind_the_sequence_of_the_topic(project: Project) -> None:
    running = project.engine(**DECLARED)
    project.send(world(running, 100))
    run_flow(running, "learn")
    before = project.values("models")[-1]["sequence"]
    running.state.recovery_dir("learn").rename(project.directory / "lost")
    run_flow(running, "learn")
    sequences = [model["sequence"] for model in project.values("models")]
    assert before < sequences[-1]
    assert sequences == sorted(set(sequences))


def test_a_candidate_that_is_old_forged_or_of_another_pipeline_does_not_become_the_challenger(
    project: Project,
) -> None:
    running = project.engine(**DECLARED)
    good, sealer = challenger(running, labels=5), running.sealer()
    topic = running.pipeline.topic("models")

    def other(
        version: str, sequence: int, role: Role = "candidate", pipeline: str = "flight_delays"
    ) -> Outgoing:
        model = Model(version, running.pipeline.model())
        out = sealer.record(topic, ModelMessage(pipeline, role, NOON - 1, model, {}, sequence))
        return out._replace(headers=tuple((n, b"candidate" if n == "role" else v) for n, v in out.headers))

    old, foreign = other("v0", 0), other("v8", 8, pipeline="card_fraud")
    renamed = other("v9", 9, role="champion")  # the header says candidate
    forged = other("v7", 7)._replace(value=good.value)
    project.send([good, good, old, foreign, renamed, forged])
    project.send(world(running, 20))
    run_flow(running, "learn")
    roles = {(m.model.version, m.role) for m in (sealer.read(r) for r in project.records("models")[6:])}
    assert roles == {("v1", "champion"), ("v2", "challenger")}
    dead = [(dict(r.headers)["reason"], r.key) for r in project.records("dead-letters") if r.key]
    reasons = [each for each in dead if each[1] in (b"v0", b"v2", b"v7", b"v8", b"v9")]
    assert reasons == [(b"stale", b"v0"), (b"stale", b"v8"), (b"stale", b"v9"), (b"signature", b"v7")]


def test_an_outlier_is_counted_in_the_metrics_and_logged_once_for_each_feature(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running, random, records = project.engine(), Random(5), []
    for number in range(300):
        flight, time = f"F{number:05}", NOON + number * MINUTE
        answer = served(running, flight, time, True, True, random)
        features = list(answer.features)
        features[1] = 1e6 if number in (200, 250) else number % 90  # minute_of_day
        records += [
            prediction(running, answer._replace(features=features)),
            label(flight, time + MINUTE, number % 3 == 0),
        ]
    project.send(sorted(records, key=lambda record: record.timestamp))
    counter = telemetry.OUTLIERS.labels("minute_of_day")
    before = value_of(counter)
    run_flow(running, "learn")
    assert value_of(counter) - before == 2
    *_, last = project.values("metrics")
    assert (last["labels"], last["outliers"]) == (300, 2)
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "driftline.learn"]
    assert "event 'F00200': minute_of_day is 1e+06, far outside the range 0 to 89" in warning
    assert "it is learned as the end of the range (outliers='clip')" in warning
    snapshot = running.sealer().read(project.records("models")[-1])
    assert snapshot.model.learned == 300


def test_models_are_published_beside_those_that_another_secret_signed(project: Project) -> None:
    running = project.engine(**DECLARED)
    project.send(world(running, 100))
    run_flow(running, "learn")
    before = len(project.records("models"))
    running.state.recovery_dir("learn").rename(project.directory / "lost")
    renewed = project.with_settings(SECRET=SECRET).engine(**DECLARED)
    run_flow(renewed, "learn")
    new = [renewed.sealer().read(record) for record in project.records("models")[before:]]
    assert [message.sequence for message in new] == list(range(1, len(new) + 1))
    assert new[-1].model.learned == 101
