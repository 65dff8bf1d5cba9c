"""The retrain flow: it trains a candidate for a drift signal on the labels since the change."""

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Any

import orjson
import pytest
from candidate_models import Certain, Hungry, Slow, Threshold
from harness import PATIENCE, Project, run_flow, wait_until
from made_flights import HOUR, MINUTE, NOON, label, prediction, served
from metric_values import value_of
from signals import changed, outgoing, signal

from flows.adapters.prometheus import metrics
from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.training import LabelledRow, Training
from flows.core.models.model import ModelMessage
from flows.core.registry.entry import Entry, EntrySealer
from flows.core.stored_format import REGISTRY
from flows.core.stream.broker import Broker, Outgoing
from flows.core.stream.times import iso
from flows.policies import Floor, RetrainPolicy, Search
from flows.runtime.engine import Engine
from flows.runtime.steps import retraining
from flows.runtime.training.lineage import code_lineage

FLIGHTS = 300
SINCE = NOON + 160 * MINUTE  # by then a hundred labels have come


def world(running: Engine) -> tuple[list, dict[str, bool], list[Outgoing]]:
    """A prediction a minute and its label an hour later: the predictions, the truths, the records."""
    random = Random(5)
    truths = {f"F{number:05}": random.random() < 0.4 for number in range(FLIGHTS)}
    answers = [
        served(running, flight, NOON + number * MINUTE, truth, True, random)
        for number, (flight, truth) in enumerate(truths.items())
    ]
    records = [prediction(running, answer) for answer in answers]
    records += [label(answer.id, answer.time + HOUR, truths[answer.id]) for answer in answers]
    return answers, truths, records


def candidates(project: Project, running: Engine) -> list[ModelMessage]:
    return [running.sealer().read(record) for record in project.records("models")]


def outcomes(outcome: str) -> float:
    """Return how many candidates had this outcome."""
    return value_of(metrics.RETRAININGS.labels(outcome))


def test_a_signal_brings_a_candidate_that_learned_the_labels_since_the_change(project_on: Project) -> None:
    running = project_on.engine(retrain=RetrainPolicy(minimum_labels=200))
    answers, truths, records = world(running)
    project_on.send([*records, outgoing(signal(3, SINCE))])
    run_flow(running, "retrain")

    (message,) = candidates(project_on, running)
    recent = [answer for answer in answers if answer.time + HOUR >= SINCE]
    assert (message.role, message.model.version, message.model.learned) == ("candidate", "v4-fresh", 200)
    assert (message.time, message.sequence) == (signal(3).time, signal(3).time)
    assert len(recent) == 200
    assert len(message.lineage["sha256"]) == 64
    assert message.lineage == {
        **code_lineage(running),
        "parent": "v1",
        "cause": "alarm",
        "trigger": signal(3, SINCE).id,
        "why": "the error rose from 0.1 to 0.3 (adwin)",
        "kind": "fresh",
        "trained_on": 200,
        "since": "2013-01-01T14:40:00.000Z",
        "until": iso(signal(3).time),
        "read": {"labels": {"0": FLIGHTS}, "predictions": {"0": FLIGHTS}},
        "sha256": message.lineage["sha256"],
        "cut": {
            "since": SINCE,
            "labels": {"0": FLIGHTS},
            "predictions": {"0": FLIGHTS},
            "early": [],
            "of_labels": True,
        },
    }
    names = running.pipeline.feature_names(running.state.plan())
    expected = Training(running.pipeline.new_model(), names, OutlierFilter(names, "clip"), [].append)
    for answer in recent:
        expected.learn(LabelledRow(answer.features, truths[answer.id]))
    assert (
        message.model.estimator["LogisticRegression"].weights
        == expected.model.estimator["LogisticRegression"].weights
    )


def test_a_second_signal_with_the_number_of_an_answered_one_brings_no_candidate(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    first, repeated, next_one = signal(1, SINCE), signal(1, SINCE + 20 * MINUTE), signal(2, SINCE)
    project.send(world(running)[2])
    for sent in (first, repeated, next_one):
        project.send([outgoing(sent)])
        run_flow(running, "retrain")
    triggers = [message.lineage["trigger"] for message in candidates(project, running)]
    assert triggers == [first.id, next_one.id]


def test_a_candidate_learns_no_label_of_after_its_signal(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    sent = changed(signal(1, SINCE), time=SINCE + 49 * MINUTE)
    project.send([*world(running)[2], outgoing(sent)])
    run_flow(running, "retrain")
    assert [message.model.learned for message in candidates(project, running)] == [50]


def test_labels_that_cannot_be_used_do_not_stop_the_retraining(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=200))
    _, _, records = world(running)
    bad = [Outgoing("flight_labels", value, timestamp=SINCE + 1) for value in (b"{", b'{"late": 1}')]
    project.send([*records, *bad, label("nobody", SINCE + 2, True), outgoing(signal(1, SINCE))])
    run_flow(running, "retrain")
    assert [message.model.learned for message in candidates(project, running)] == [200]


def test_a_candidate_with_too_few_labels_is_trained_when_more_have_come(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retraining, "_PAUSES", (0.01, 0.01))
    running = project.engine(retrain=RetrainPolicy(minimum_labels=150))
    records = sorted(world(running)[2], key=lambda record: record.timestamp or 0)
    sent = changed(signal(1, SINCE), time=SINCE + 49 * MINUTE)
    early = [record for record in records if (record.timestamp or 0) <= sent.time]
    project.send([*early, outgoing(sent)])

    def send_the_rest_when_it_waits(_: Broker) -> bool:
        if "v2-fresh waits for labels: only 50 of 150" in caplog.text:
            project.send(records[len(early) :])
            caplog.clear()
        return project.records("models") != []

    run_flow(running, "retrain", until=send_the_rest_when_it_waits)
    assert [message.model.learned for message in candidates(project, running)] == [200]


def test_too_few_labels_until_the_end_of_the_cool_down_bring_no_candidate(project: Project) -> None:
    policy = RetrainPolicy(minimum_labels=201, cool_down=2 * timedelta(hours=1))
    running = project.engine(retrain=policy)
    sent = changed(signal(1, SINCE), time=SINCE + 60 * MINUTE)
    project.send([*world(running)[2], outgoing(sent)])
    before = outcomes("too-few-labels")
    run_flow(running, "retrain")
    assert candidates(project, running) == []
    assert outcomes("too-few-labels") - before == 1


@pytest.mark.parametrize("body", [b"not a signal", b"{}", signal(1).to_json().replace(b"adwin", b"magic")])
def test_what_is_no_signal_becomes_a_dead_letter(project: Project, body: bytes) -> None:
    project.send([Outgoing("flight_delays.drift", body, timestamp=NOON)])
    run_flow(project.engine(), "retrain")
    (letter,) = project.records("dead-letters")
    assert (letter.value, dict(letter.headers)["reason"]) == (body, b"schema")


@pytest.mark.parametrize(
    "change",
    [{"level": "warning"}, {"status": "resolved"}, {"kind": "feature", "detector": "psi"}],
    ids=["warning", "resolved", "feature"],
)
def test_only_an_alarm_of_concept_drift_brings_a_candidate(project: Project, change: dict) -> None:
    other = changed(signal(1, SINCE), **change)
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    project.send([*world(running)[2], outgoing(other)])
    run_flow(running, "retrain")
    assert candidates(project, running) == []
    assert project.records("dead-letters") == []


def test_a_flow_that_lost_its_state_sends_no_candidate_twice(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    project.send([*world(running)[2], outgoing(signal(1, SINCE))])
    run_flow(running, "retrain")
    running.state.recovery_dir("retrain").rename(project.directory / "lost")
    run_flow(running, "retrain")
    project.send([outgoing(signal(2, SINCE))])
    run_flow(running, "retrain")
    versions = [message.model.version for message in candidates(project, running)]
    assert versions == ["v2-fresh", "v3-fresh"]


def requested(running: Engine, number: int) -> Outgoing:
    """Return an entry in which a person asks for a training, always at the same event time."""
    entry = Entry(
        str(REGISTRY), "flight_delays", number, "", iso(SINCE), 1, "requested", "v1", "ada", "a new pattern"
    )
    return EntrySealer("flight_delays", running.secrets).seal("flight_delays.registry", entry, SINCE)[0]


def test_requests_of_one_event_time_are_answered_once(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    project.send([*world(running)[2], *(requested(running, number) for number in (3, 4, 5))])
    run_flow(running, "retrain")
    versions = [message.model.version for message in candidates(project, running)]
    assert versions == ["c20130101T144000-fresh"]


def test_of_alarms_that_wait_the_newest_is_answered(project: Project) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1))
    project.send([*world(running)[2], *(outgoing(signal(number, SINCE)) for number in range(1, 6))])
    run_flow(running, "retrain")
    versions = [message.model.version for message in candidates(project, running)]
    assert versions[-1] == "v6-fresh"
    assert len(versions) <= 2  # the first may have been read alone


def test_a_training_gives_up_when_the_flow_drains_and_is_repeated_by_the_next_run(project: Project) -> None:
    policy = RetrainPolicy(minimum_labels=200)
    running, slow = project.engine(retrain=policy), project.engine(retrain=policy, model=Slow)
    project.send([*world(running)[2], outgoing(signal(1, SINCE))])
    run_flow(slow, "retrain", until=lambda _: (project.directory / "training").exists())
    assert project.records("models") == []

    run_flow(running, "retrain", until=lambda _: project.records("models") != [])
    assert [message.model.learned for message in candidates(project, running)] == [200]


def test_a_training_whose_process_is_killed_is_repeated(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=200))
    project.send([*world(running)[2], outgoing(signal(1, SINCE))])
    killed: list[int] = []

    def kill_the_first_trainer(_: Broker) -> bool:
        if not killed:
            killed.extend(trainers())
            for pid in killed:
                os.kill(pid, SIGKILL)
        return project.records("models") != []

    run_flow(running, "retrain", until=kill_the_first_trainer)
    assert [message.model.learned for message in candidates(project, running)] == [200]
    assert "ended with exit code -9" in caplog.text


def trainers() -> list[int]:
    """Return the trainers that this process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = status.with_name("cmdline").read_bytes()
            if parent == os.getpid() and b"flows.runtime.training.trainer" in command:
                found.append(int(status.parent.name))
    return found


@pytest.mark.parametrize(
    ("model", "limit", "outcome", "said"),
    [
        (Slow, {"budget": timedelta(seconds=3)}, "over-budget", "more than the budget of 3 s"),
        (Hungry, {"memory": 100}, "over-memory", "more than the memory of 100 MB"),
    ],
    ids=["budget", "memory"],
)
def test_a_candidate_that_exceeds_a_limit_is_dropped_and_the_flow_goes_on(
    project: Project,
    caplog: pytest.LogCaptureFixture,
    model: type,
    limit: dict[str, Any],
    outcome: str,
    said: str,
) -> None:
    running = project.engine(retrain=RetrainPolicy(minimum_labels=1, **limit), model=model)
    project.send([*world(running)[2], outgoing(signal(1, SINCE))])
    before = outcomes(outcome)
    run_flow(running, "retrain")
    assert outcomes(outcome) - before == 1
    assert f"candidate v2-fresh was dropped: it took {said}" in caplog.text
    assert project.records("models") == []


def test_the_best_configuration_of_the_search_becomes_a_candidate_that_tells_what_was_tried(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    search = Search(
        models={"certain": Certain, "threshold": Threshold, "hungry": Hungry},
        parameters={"certain": {"late": (True, False)}, "threshold": {"certainty": (0.6, 0.9)}},
    )
    policy = RetrainPolicy(minimum_labels=200, search=search, memory=100)
    running = project.engine(retrain=policy, model=Certain)
    project.send([*world(running)[2], outgoing(signal(1, SINCE))])
    run_flow(running, "retrain")
    fresh, found = candidates(project, running)
    assert (fresh.model.version, found.model.version) == ("v2-fresh", "v2-search")
    assert (type(found.model.estimator), found.model.estimator.certainty) == (Threshold, 0.9)
    assert found.model.learned == 200
    told = found.lineage["search"]
    assert told["winner"] == "threshold(certainty=0.9)"
    assert [rung["rows"] for rung in told["rungs"]] == [100, 100, 200]
    assert set(told["rungs"][0]["losses"]) == {each.name for each in search.configurations()}
    assert told["rungs"][0]["losses"]["hungry()"] is None
    assert "candidate v2-search hungry() was dropped: it took more than the memory" in caplog.text


def measured(hours: float, labels: int = 0, **recent: float) -> Outgoing:
    """A record of the metrics topic, so many hours after noon."""
    time = NOON + round(hours * HOUR)
    assessment = {"recent": {"metrics": {"model": recent}}}
    body = {"time": iso(time), "model": "v1", "labels": labels, "assessment": assessment}
    return Outgoing("flight_delays.metrics", orjson.dumps(body), timestamp=time)


@pytest.mark.parametrize(
    ("declared", "cause", "version"),
    [
        ({"schedule": timedelta(hours=4)}, "schedule", "s20130101T160000-fresh"),
        ({"floor": Floor("ROCAUC", 0.6)}, "floor", "f20130101T170000-fresh"),
    ],
    ids=["schedule", "floor"],
)
def test_a_schedule_and_a_floor_bring_a_candidate_that_learned_the_window(
    project_on: Project, declared: dict[str, Any], cause: str, version: str
) -> None:
    window, cool_down = timedelta(hours=2), timedelta(hours=2)
    policy = RetrainPolicy(minimum_labels=50, window=window, cool_down=cool_down, **declared)
    running = project_on.engine(retrain=policy)
    project_on.send(world(running)[2])
    project_on.send([measured(hours, ROCAUC=0.5 if hours >= 5 else 0.7) for hours in (0, 1, 4, 5, 5.5)])
    run_flow(running, "retrain", until=lambda _: project_on.records("models") != [])
    (message,) = candidates(project_on, running)
    assert (message.model.version, message.lineage["cause"]) == (version, cause)
    assert message.model.learned == 121  # a label each minute of two hours


FIRST_SEARCH = RetrainPolicy(
    minimum_labels=50, search=Search({"certain": Certain, "threshold": Threshold}, first=200)
)


def test_the_first_search_brings_its_winner_alone_with_all_labels(project: Project) -> None:
    running = project.engine(retrain=FIRST_SEARCH, model=Certain)
    project.send([*world(running)[2], *(measured(4 + count / 60, count) for count in (0, 199, 201, 250))])
    run_flow(running, "retrain", until=lambda _: project.records("models") != [])
    (message,) = candidates(project, running)
    assert (message.model.version, message.lineage["cause"]) == ("f20130101T192100-search", "first")
    assert type(message.model.estimator) is Threshold
    told = message.lineage["search"]
    assert told["winner"] == "threshold()"
    assert [(rung["rows"], list(rung["losses"])) for rung in told["rungs"]] == [
        (FLIGHTS // 2, ["certain()", "threshold()"])
    ]
    assert message.model.learned == FLIGHTS


def test_the_first_search_brings_no_candidate_if_the_declared_model_is_the_best(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running = project.engine(retrain=FIRST_SEARCH, model=Threshold)
    project.send([*world(running)[2], *(measured(4, count) for count in (0, 201))])
    before = outcomes("no-better")
    run_flow(running, "retrain", until=lambda _: outcomes("no-better") > before)
    assert outcomes("no-better") - before == 1
    assert "-search was dropped: the declared model has the lowest loss" in caplog.text
    assert candidates(project, running) == []


def test_a_long_training_does_not_hold_up_sigterm(project: Project) -> None:
    (project.directory / "slow.py").write_text(SLOW)
    (project.directory / "driftline.toml").write_text('feature_repo = "feature_repo"\npipelines = ["slow"]\n')
    project.send([*world(project.engine())[2], outgoing(signal(1, SINCE))])
    with project.flows("retrain", DRIFTLINE_HTTP_PORT="0") as flows:
        wait_until((project.directory / "training").exists, PATIENCE)
        assert flows.stop() == 0
    assert flows.said().splitlines()[1:] == ["draining"]
    assert project.records("models") == []


SLOW = """
import time
from dataclasses import replace
from pathlib import Path

from river import linear_model

from flows.pipelines import flight_delays


class Slow(linear_model.LogisticRegression):
    def learn_one(self, x, y, w=1.0):
        Path("training").touch()
        time.sleep(1)


pipeline = replace(flight_delays.pipeline, model=Slow)
"""
