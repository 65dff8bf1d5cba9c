"""Ten thousand bad records on every topic: each becomes a dead letter, and no flow stops."""

from collections import Counter

import pytest
from harness import Project, lag, run_flow
from made_flights import HOUR, NOON, arrival, departure, event, label, traffic
from poison import Poison
from signals import outgoing, signal

from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Outgoing
from flows.core.stream.dead_letter import DeadLetter, read
from flows.core.stream.fields import Field, Flag, Number, Text, Time

BAD = 10_000  # on each topic
ID = Text(longest=2**20)


def poisoned(topic: str, fields: dict[str, Field], good: list[bytes], seed: int) -> list[Outgoing]:
    return [Outgoing(topic, value, timestamp=NOON) for value in Poison(fields, seed).of(good, BAD)]


def letters(project: Project) -> list[DeadLetter]:
    return [read(record) for record in project.records("dead-letters")]


def each_is_kept(project: Project, topic: str, bad: list[Outgoing]) -> None:
    """The topic's dead letters are the bad records, byte for byte, each once and with its place."""
    stand = {record.offset: record.value for record in project.records(topic)}
    of_topic = [letter for letter in letters(project) if letter.origin == topic]
    assert Counter(letter.value for letter in of_topic) == Counter(record.value for record in bad)
    assert len({letter.offset for letter in of_topic}) == len(bad)
    assert all(stand[letter.offset] == letter.value for letter in of_topic)
    assert all(letter.detail for letter in of_topic)


@pytest.mark.parametrize(("topic", "seed"), [("flights", 1), ("departures", 2), ("arrivals", 3)])
def test_bad_records_of_an_input_are_dead_letters_and_the_good_ones_among_them_are_answered(
    project: Project, topic: str, seed: int
) -> None:
    running = project.engine()
    (stream,) = (s for s in running.pipeline.feature_streams if s.topic == topic)
    good = {"flights": event, "departures": departure, "arrivals": arrival}[topic]
    values = [good(f"F{n}", NOON, *([] if good is event else [5])).value for n in range(20)]
    bad = poisoned(topic, dict(stream.fields), values, seed)
    project.send([event("first", NOON), *bad, event("last", NOON + HOUR)])
    run_flow(running, "predict")

    each_is_kept(project, topic, bad)
    assert [prediction["id"] for prediction in project.values("predictions")] == ["first", "last"]


def test_bad_labels_and_predictions_are_dead_letters_and_the_good_ones_are_learned(project: Project) -> None:
    running = project.engine()
    project.send([event("F1", NOON), event("F2", NOON + HOUR)])
    run_flow(running, "predict")
    served = [record.value for record in project.records("predictions")]
    bad_labels = poisoned(
        "flight_labels", dict(running.pipeline.labels.fields), [label("F1", NOON, True).value], 4
    )
    topic = running.pipeline.topic("predictions")
    fields = {"id": ID, "time": Time(), "score": Number(), "model": ID}
    bad_predictions = poisoned(topic, fields, served, 5)
    project.send([*bad_labels, *bad_predictions, label("F1", NOON, True), label("F2", NOON + HOUR, False)])
    run_flow(running, "learn")

    each_is_kept(project, "flight_labels", bad_labels)
    each_is_kept(project, topic, bad_predictions)
    assert project.values("metrics")[-1]["labels"] == 2


def test_bad_feature_rows_and_predictions_are_dead_letters_of_materialize(project: Project) -> None:
    from flows.materialize import build  # Feast takes seconds to import

    project.apply_feast()
    running = project.engine()
    project.send(traffic(20))
    run_flow(running, "predict")
    features, served = running.pipeline.topic("features"), running.pipeline.topic("predictions")
    bad_rows = poisoned(features, {"view": ID}, [r.value for r in project.records("features")], 6)
    fields = {"plan": ID, "moment": Number(0, 2**62)}
    bad_answers = poisoned(served, fields, [r.value for r in project.records("predictions")], 7)
    project.send([*bad_rows, *bad_answers])
    run_flow(running, "materialize", build=build)

    each_is_kept(project, features, bad_rows)
    each_is_kept(project, served, bad_answers)
    answered = [predictions.decode_served(record) for record in project.records("predictions")[:20]]
    assert len(answered) == 20


def test_models_that_are_not_signed_are_dead_letters_and_the_champion_goes_on(project: Project) -> None:
    running = project.engine()
    project.send(traffic(20))
    for flow in ("predict", "learn"):
        run_flow(running, flow)
    models = project.records("models")
    headers = models[-1].headers
    topic = running.pipeline.topic("models")
    before = len(project.values("predictions"))
    values = Poison({"version": ID, "learned": Number(), "time": Time()}, 8).of([models[-1].value], BAD)
    bad = [Outgoing(topic, value, timestamp=NOON, headers=headers) for value in values]
    project.send([*bad, event("last", NOON + HOUR)])
    dead = running.pipeline.topic("dead-letters")
    run_flow(
        running,
        "predict",
        lambda broker: broker.offsets(dead)[0][1] >= BAD and lag(broker, running, "predict") == 0,
    )

    each_is_kept(project, topic, bad)
    assert len(project.values("predictions")) == before + 1


def test_bad_drift_signals_are_dead_letters_and_the_good_one_is_answered(project: Project) -> None:
    running = project.engine()
    topic = running.pipeline.topic("drift")
    good = outgoing(signal(7, NOON))
    fields = {"id": ID, "type": ID, "time": Time(), "specversion": ID, "data": Flag()}
    bad = poisoned(topic, fields, [good.value], 9)
    project.send([*bad, good])
    run_flow(running, "retrain", until=lambda broker: lag(broker, running, "retrain") == 0)

    each_is_kept(project, topic, bad)
