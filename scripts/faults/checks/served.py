"""Checks of what callers of `driftline serve` were told, against the topics."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.faults.checks.check import Check
from scripts.faults.checks.topics import bodies, json_of
from scripts.faults.serving.traffic import Ask
from scripts.faults.site import Log


def served(log: Log, answered: Sequence[Ask], predictions: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Check that what the answered requests published is on the topics once, and nothing else.

    `predictions` are those in the answers.
    """
    pipeline = log.running.pipeline
    events, labels = _published(answered, "event"), _published(answered, "label")
    predicted = [body for body, _ in bodies(log, "predictions")]
    yield _once("events", events, _ids(log, pipeline.events.topic, pipeline.events.id))
    yield _once("labels", labels, _ids(log, pipeline.labels.topic, pipeline.labels.id))
    yield _once("predictions", events, [body["id"] for body in predicted])
    scores = {body["id"]: (body["score"], body["model"]) for body in predicted}
    wrong = [row["id"] for row in predictions if scores.get(row["id"]) != (row["score"], row["model"])]
    yield Check("predictions in answers that differ from the topic's", len(predictions), wrong)
    dead = [place for _, place in bodies(log, "dead-letters")]
    yield Check("dead letters", len(events) + len(labels), dead)


def _published(answered: Sequence[Ask], what: str) -> set[str]:
    return {name for ask in answered if ask.kind.startswith(what) for name in ask.ids}


def _ids(log: Log, topic: str, field: str) -> list[str]:
    return [body[field] for record in log.records(topic) if (body := json_of(record)) is not None]


def _once(what: str, expected: set[str], found: Sequence[str]) -> Check:
    """Check that each expected id was found once, and no other."""
    counts = Counter(found)
    wrong = [f"{name}: {counts[name]} times" for name in expected if counts[name] != 1]
    wrong += [f"{name}: nobody got an answer to it" for name in counts.keys() - expected]
    return Check(f"{what} that are not on the topic once", len(expected), wrong)
