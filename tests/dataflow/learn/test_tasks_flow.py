"""Multiclass, regression and anomaly pipelines, from the event to the retrained model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pytest
from answered import encode
from candidate_models import linear, softmax, trees
from harness import Project, run_flow
from made_flights import HOUR, MINUTE, NOON, event, record, traffic
from pyarrow import Table
from pyarrow.parquet import read_table
from schemas import check, check_all
from signals import outgoing, signal

from flows.core.evaluation.label_join import Label
from flows.core.models.model import ModelMessage, Prediction
from flows.core.models.tasks import TASKS
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Outgoing
from flows.core.stream.fields import Field, Flag, Number, Text, Time
from flows.core.stream.times import iso
from flows.jobs.training_features import AsServed
from flows.jobs.training_set import TrainingSet
from flows.pipeline import Stream
from flows.policies import RetrainPolicy
from flows.runtime.engine import Engine
from flows.runtime.learner import new_learner

FLIGHTS = 120


class Asked(NamedTuple):
    """What is asked of a flight: the task, the label's field, its truth by the flight's number, the model."""

    task: str
    field: Field
    truth: Callable[[int], Any]
    model: Callable[[], Any]


ASKED = [
    Asked("multiclass", Text(), lambda n: ("early", "late", "cancelled")[n % 3], softmax),
    Asked("regression", Number(), lambda n: n % 7 - 2.5, linear),
    Asked("anomaly", Flag(), lambda n: n % 10 == 0, trees),
]


def engine(project: Project, asked: Asked) -> Engine:
    fields = {"flight_id": Text(), "known_at": Time(), "outcome": asked.field}
    return project.engine(
        task=asked.task,
        labels=Stream("flight_labels", "flight_id", "known_at", fields),
        target="outcome",
        model=asked.model,
        retrain=RetrainPolicy(minimum_labels=50, trial=0),
    )


def events() -> list[Outgoing]:
    return [each for each in traffic(FLIGHTS) if each.topic != "flight_labels"]


def labels(asked: Asked) -> list[Outgoing]:
    return [outcome(n, asked.truth(n)) for n in range(FLIGHTS)]


def outcome(number: int, truth: Any) -> Outgoing:
    flight, time = f"F{number:05}", NOON + number * MINUTE + HOUR
    return record("flight_labels", time, {"flight_id": flight, "known_at": iso(time), "outcome": truth})


def served(project: Project) -> list[Prediction]:
    return [predictions.decode(each) for each in project.records("predictions")]


def models(project: Project, running: Engine) -> list[ModelMessage]:
    return [running.sealer().read(each) for each in project.records("models")]


def reasons(project: Project) -> list[bytes]:
    return [dict(letter.headers)["reason"] for letter in project.records("dead-letters")]


def by_the_core(project: Project, running: Engine) -> Any:
    """The learner, driven by hand with the same records in the order of their time."""
    learner = new_learner(running.pipeline, running.state.plan())
    records = project.records("flight_labels") + project.records("predictions")
    for each in sorted(records, key=lambda r: (r.timestamp, r.topic != "flight_labels")):
        if each.topic == "flight_labels":
            payload = orjson.loads(each.value)
            label = Label(payload["flight_id"], each.timestamp, payload["outcome"], each)
            assert list(learner.labelled(label)) == []
        else:
            assert list(learner.predicted(predictions.decode(each))) == []
    return learner


def training_set(project: Project, running: Engine) -> Table:
    out, plan = project.directory / "training.parquet", running.state.plan()
    made = TrainingSet(running.pipeline, plan, AsServed(len(running.pipeline.inputs)))
    with project.broker() as broker:
        made.write(broker, out, project.directory, lambda _: None)
    return read_table(out)


def plain(score: Any) -> Any:
    """A score as a parquet file gives it back: a map is a list of pairs."""
    return dict(score) if isinstance(score, list) else score


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.task)
def test_an_event_is_answered_learned_judged_and_retrained_on_as_its_task_says(
    project: Project, asked: Asked
) -> None:
    running, task = engine(project, asked), TASKS[asked.task]
    project.send(events())
    run_flow(running, "predict")
    cold = running.pipeline.new_model()
    names = running.pipeline.feature_names(running.state.plan())
    assert len(served(project)) == FLIGHTS
    for each in served(project):
        assert each.score == cold.score(dict(zip(names, each.features, strict=True)))

    project.send(labels(asked))
    run_flow(running, "learn")
    expected = by_the_core(project, running)
    metrics = project.values("metrics")[-1]
    assert (metrics["labels"], metrics["pending"]) == (FLIGHTS, 0)
    assert metrics["metrics"] == expected.evaluation.values()
    champion = models(project, running)[-1].model
    assert (champion.task.name, champion.learned) == (asked.task, FLIGHTS)

    project.send([outgoing(signal(1, NOON))])
    run_flow(running, "retrain")
    candidate, warm = models(project, running)[-2:]
    assert (candidate.role, candidate.model.version) == ("candidate", "v2-fresh")
    assert (warm.role, warm.model.version) == ("candidate", "v2-warm")
    assert (candidate.model.task.name, candidate.model.learned) == (asked.task, FLIGHTS)
    run_flow(running, "learn", until=lambda _: models(project, running)[-1].role == "challenger")
    challengers = {m.model.version: m.model for m in models(project, running) if m.role == "challenger"}
    assert challengers.keys() == {"v2-warm", "v2-fresh"}

    project.send([event("last", NOON + 11 * HOUR)])
    run_flow(running, "predict")
    last = served(project)[-1]
    features = dict(zip(names, last.features, strict=True))
    assert (last.id, last.score, last.shadows) == (
        "last",
        champion.score(features),
        {version: model.score(features) for version, model in challengers.items()},
    )
    assert task.serves(last.score)
    check_all("prediction", project.records("predictions"))
    check_all("model", project.records("models"))
    check("metrics", metrics)
    table = training_set(project, running)
    assert table.column("label").to_pylist() == [asked.truth(n) for n in range(FLIGHTS)]
    assert [plain(score) for score in table.column("score").to_pylist()] == [
        each.score for each in served(project)[:FLIGHTS]
    ]
    assert reasons(project) == []


def test_a_detector_of_anomalies_learns_and_is_published_without_any_label(project: Project) -> None:
    running = engine(project, ASKED[2])
    project.send(events())
    run_flow(running, "predict")
    run_flow(running, "learn")
    assert models(project, running)[-1].model.learned == FLIGHTS
    assert project.values("metrics") == []


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.task)
def test_labels_of_another_kind_and_scores_of_another_task_become_dead_letters(
    project: Project, asked: Asked
) -> None:
    running = engine(project, asked)
    score: Any = 0.5 if asked.task != "regression" else {"a": 0.5}
    foreign = Prediction("F00000", NOON, score, "v1", {}, [])
    topic = running.pipeline.topic("predictions")
    project.send(
        [
            outcome(0, asked.truth(0)),
            outcome(1, 7 if asked.task != "regression" else "seven"),
            encode(topic, 0, foreign, running.state.plan().hash),
        ]
    )
    run_flow(running, "learn")
    assert reasons(project) == [b"schema", b"schema"]
