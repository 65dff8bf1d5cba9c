"""The short form of `scripts/chaos serve`; its checks must fail on topics that are not as they should be."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from scripts.faults import chaos
from scripts.faults.checks.check import Check
from scripts.faults.checks.served import served
from scripts.faults.checks.topics import as_sent
from scripts.faults.serving.callers import NO_ANSWER
from scripts.faults.serving.kills import Serving
from scripts.faults.serving.traffic import Ask
from scripts.faults.site import Site, fresh_site

REQUESTS, KILLS, SEED = 1_200, 2, 3  # of the server and of the predict flow


class Ran(NamedTuple):
    site: Site
    serving: Serving
    checks: list[Check]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run on the embedded log."""
    settings = {**chaos.SETTINGS, "DRIFTLINE_FEATURE_STORE": "feature_store.yaml"}
    site = fresh_site(tmp_path_factory.mktemp("serving") / "project", settings)
    serving = Serving(site, REQUESTS, KILLS, SEED, print)
    return Ran(site, serving, serving.run())


def test_kills_under_mixed_requests_lose_and_repeat_no_event_label_or_prediction(ran: Ran) -> None:
    assert chaos.report(ran.checks) == 0
    assert len(ran.serving.callers.answered) == REQUESTS
    assert {ask.kind for ask in ran.serving.callers.answered} == {
        "event and wait", "event", "label", "events, lines", "labels, lines", "infer", "prediction",
    }  # fmt: skip
    assert ran.serving.callers.statuses()[NO_ANSWER] > 0  # the server was killed under its requests


def wrong(ran: Ran, answered: list[Ask], predictions: list[dict[str, Any]]) -> dict[str, Sequence[str]]:
    with ran.site.log() as log:
        return {check.name: check.wrong for check in served(log, answered, predictions)}


def test_what_was_answered_and_is_on_no_topic_is_found(ran: Ran) -> None:
    callers = ran.serving.callers
    lost = [Ask("event", "POST", "", ids=["E-LOST"]), Ask("label", "POST", "", ids=["L-LOST"])]
    found = wrong(
        ran, [*callers.answered, *lost], [*callers.predictions, {"id": "P", "score": 1.0, "model": "v1"}]
    )
    assert found["events that are not on the topic once"] == ["E-LOST: 0 times"]
    assert found["labels that are not on the topic once"] == ["L-LOST: 0 times"]
    assert found["predictions that are not on the topic once"] == ["E-LOST: 0 times"]
    assert found["predictions in answers that differ from the topic's"] == ["P"]


@pytest.mark.parametrize("kind", ["events", "labels", "predictions"])
def test_a_record_that_is_on_its_topic_twice_is_found(ran: Ran, kind: str) -> None:
    with ran.site.log() as log:
        pipeline = log.running.pipeline
        topic = {"events": pipeline.events.topic, "labels": pipeline.labels.topic}.get(kind)
        first = next(log.records(topic or pipeline.topic("predictions")))
        producer = log.broker.producer()
        producer.send([as_sent(first)])
        producer.close()
    callers = ran.serving.callers
    (found,) = wrong(ran, callers.answered, callers.predictions)[f"{kind} that are not on the topic once"]
    assert found.endswith(": 2 times")
