"""Verifies a run with kills from the topics and the online store alone.

It shares no code with the deduplication, joins or learners of the engine: it reads the topics, counts ids,
trains a River model on the labels, and folds the feature rows. It also runs the engine without kills on
copies of the topics and compares the results.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from redis import Redis

from flows.core.models.model import Model
from scripts.faults.checks.check import Check
from scripts.faults.checks.learned import learned_each_once
from scripts.faults.checks.registry import of_the_registry
from scripts.faults.checks.topics import (
    as_sent,
    batches,
    bodies,
    features_of,
    first_of_each,
    last_of,
    origin_of,
    overtaken,
    pairs,
    place_of,
    unusable,
)
from scripts.faults.site import Log, Site, fresh_site
from scripts.faults.supervisor import Supervisor

CLOSE = 1e-9  # relative; sums may be in another order
KEYS = 500  # entities per request to Feast
COPIED = 5_000  # records per batch


def verify(site: Site, clean: Path, seconds: float) -> Iterator[Check]:
    """Yield all checks; the run without kills, in the directory `clean`, may take `seconds`."""
    with site.log() as log:
        yield from of_the_topics(log)
        yield learned_once(log)
        yield from of_the_registry(site, log)
        yield model_of_a_fold(log)
        yield store_of_a_fold(site, log)
        other = _run_clean(site, log, clean, seconds)
        with other.log() as clean_log:
            yield model_of_a_clean_replay(log, clean_log)
        yield store_of_a_clean_run(site, other)


def verify_models(site: Site) -> Iterator[Check]:
    """Yield the checks of a run of `models_pipeline`, in which champions change."""
    with site.log() as log:
        yield from of_the_topics(log)
        yield judged_once(log)
        yield from of_the_registry(site, log)
        yield learned_each_once(log)


def of_the_topics(log: Log) -> Iterator[Check]:
    """Yield the checks that need only the topics."""
    yield lost(log)
    yield predicted_twice(log)
    yield dead_letters(log)
    for kind in ("drift", "metrics", "models", "registry"):
        yield written_twice(log, kind)


def lost(log: Log) -> Check:
    """Check that each valid event has a prediction, and nothing else has one."""
    answered = {body["id"] for body, _ in bodies(log, "predictions")}
    asked = first_of_each(log, log.running.pipeline.events)
    wrong = [f"{key} ({place})" for key, place in asked.items() if key not in answered]
    wrong += [f"{key}, which nobody asked" for key in sorted(answered - asked.keys())]
    return Check("lost: valid events without a prediction", len(asked), wrong)


def predicted_twice(log: Log) -> Check:
    """Check that no event has two predictions."""
    places: dict[str, list[str]] = {}
    for body, place in bodies(log, "predictions"):
        places.setdefault(body["id"], []).append(place)
    wrong = [f"{key} ({', '.join(at)})" for key, at in places.items() if len(at) > 1]
    return Check("duplicated: predictions of one event", len(places), wrong)


def dead_letters(log: Log) -> Check:
    """Check that each record that cannot be used has exactly one dead letter, and no other record has one."""
    pipeline = log.running.pipeline
    expected = {place for stream in (pipeline.events, pipeline.labels) for place in unusable(log, stream)}
    expected.update(overtaken(log))
    found = Counter(origin_of(record) for record in log.records(pipeline.topic("dead-letters")))
    wrong = [
        f"{place} has {found[place]}"
        for place in sorted(expected | found.keys())
        if found[place] != (place in expected)
    ]
    return Check("dead letters: bad records that have not exactly one", len(expected), wrong)


def written_twice(log: Log, kind: str) -> Check:
    """Check that no id is on the topic twice."""
    places: dict[str, list[str]] = {}
    for record in log.records(log.running.pipeline.topic(kind)):
        record_id = dict(record.headers).get("id") or record.key
        places.setdefault(record_id.decode(), []).append(place_of(record))
    wrong = [f"{key} ({', '.join(at)})" for key, at in places.items() if len(at) > 1]
    return Check(f"duplicated: records of {kind}", len(places), wrong)


def learned_once(log: Log) -> Check:
    """Check the learner's figures, and its champion, against each label judged and learned once."""
    checked, wrong = judged_once(log)[1:]
    if (learned := champion(log).learned) != checked:
        wrong = [*wrong, f"labels learned: {learned} instead of {checked}"]
    return Check("learned exactly once: figures of the learner that are wrong", checked, wrong)


def judged_once(log: Log) -> Check:
    """Check the learner's figures against each label judged once."""
    pipeline = log.running.pipeline
    judged = [(body["score"], truth) for body, truth in pairs(log)]
    labels = len(judged)
    last = last_of(log, "metrics")
    assessed = last["assessment"]
    said = {
        "labels judged": (last["labels"], labels),
        "labels counted for calibration": (
            sum(row["labels"] for row in assessed["calibration"]["bins"]),
            labels,
        ),
        "predictions without a label": (
            last["pending"] + last["expired"],
            len(first_of_each(log, pipeline.events)) - labels,
        ),
        "log loss": (
            last["metrics"]["model"]["LogLoss"],
            _mean(-math.log(_likelihood(s, t)) for s, t in judged),
        ),
        "Brier score": (
            assessed["losses"]["brier_score"]["mean"]["model"],
            _mean((s - t) ** 2 for s, t in judged),
        ),
        "error rate": (
            assessed["losses"]["error_rate"]["mean"]["model"],
            _mean((s > 0.5) != t for s, t in judged),
        ),
    }
    wrong = [
        f"{name}: {is_} instead of {should}"
        for name, (is_, should) in said.items()
        if not math.isclose(is_, should, rel_tol=CLOSE)
    ]
    return Check("judged exactly once: figures of the learner that are wrong", labels, wrong)


def model_of_a_fold(log: Log) -> Check:
    """Check that the champion scores like a new River model that learned each label once."""
    model = log.running.pipeline.new_model()
    for features, truth in ((features_of(log, body), truth) for body, truth in pairs(log)):
        model.estimator.learn_one(features, truth)
    return _as_another("recovered model: scores that River's, taught by hand, does not give", log, model)


def model_of_a_clean_replay(log: Log, clean: Log) -> Check:
    """Check that the champion scores like that of a learner without kills on the same topics."""
    return _as_another("recovered model: scores that a clean replay's does not give", log, champion(clean))


def store_of_a_fold(site: Site, log: Log) -> Check:
    """Check that Feast returns the newest row on the features topic for each entity."""
    newest: dict[tuple[str, str], tuple[int, list[Any]]] = {}
    for record in log.records(log.running.pipeline.topic("features")):
        body = orjson.loads(record.value or b"")
        for key, time_, values in body["rows"]:
            known = newest.get((body["view"], key))
            if known is None or time_ >= known[0]:
                newest[body["view"], key] = time_, values
    online = dict(_online(site, log, newest))
    wrong = [
        f"{name}: {online.get(name)} instead of {row}"
        for name, row in newest.items()
        if online.get(name) != row
    ]
    return Check("online store: entities that have not their newest row", len(newest), wrong)


def store_of_a_clean_run(site: Site, clean: Site) -> Check:
    """Check that Redis equals, byte for byte, the result of a materialize flow without kills."""
    is_, should = _redis(site), _redis(clean)
    wrong = [repr(key) for key in sorted(is_.keys() | should.keys()) if is_.get(key) != should.get(key)]
    return Check("online store: keys that are not those of a clean run", len(should), wrong)


def champion(log: Log) -> Model:
    """Return the last champion on the models topic."""
    sealer, last = log.running.sealer(), None
    for record in log.records(log.running.pipeline.topic("models")):
        if dict(record.headers)["role"] == b"champion" and record.partition == 0:
            last = record
    assert last is not None, "no model was published"
    return sealer.read(last).model


def _run_clean(site: Site, log: Log, directory: Path, seconds: float) -> Site:
    """Run `learn` and `materialize` on copies of the topics in an embedded log; return their project."""
    redis = f"{site.environment['DRIFTLINE_REDIS']},db=1"
    settings = {k: v for k, v in site.environment.items() if k not in ("DRIFTLINE_BROKER", "DRIFTLINE_BATCH")}
    clean = fresh_site(directory, {**settings, "DRIFTLINE_REDIS": redis, "DRIFTLINE_HTTP_PORT": "0"})
    pipeline = log.running.pipeline
    with clean.log() as copy:
        producer = copy.broker.producer()
        for topic in (pipeline.labels.topic, pipeline.topic("predictions"), pipeline.topic("features")):
            for records in batches(log.records(topic), COPIED):
                producer.send([as_sent(record) for record in records])
        producer.close()
        deadline = time.monotonic() + seconds
        with Supervisor(clean, 0, 1, "learn", "materialize") as running:
            while copy.lag("learn") or copy.lag("materialize"):
                running.check()
                if time.monotonic() > deadline:
                    raise SystemExit(f"the run without kills did not end within {seconds:g} s")
                time.sleep(0.1)
            running.drain()
    return clean


def _as_another(name: str, log: Log, model: Model) -> Check:
    served, wrong, ours = 0, [], champion(log)
    for body, place in bodies(log, "predictions"):
        features = features_of(log, body)
        served += 1
        if (is_ := ours.score(features)) != (should := model.score(features)):
            wrong.append(f"{is_} instead of {should} for {body['id']} ({place})")
    return Check(name, served, wrong)


def _online(site: Site, log: Log, wanted: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield the time (ms) and features that Feast's client reads for each (view, key)."""
    import flows.adapters.feast.quick_feast  # noqa: F401  first

    # isort: split
    import os

    from feast import FeatureStore

    os.environ["DRIFTLINE_REDIS"] = site.environment["DRIFTLINE_REDIS"]  # its configuration refers to it
    repo = site.directory / "feature_repo"
    store = FeatureStore(repo_path=str(repo), fs_yaml_file=repo / site.environment["DRIFTLINE_FEATURE_STORE"])
    for view in log.running.state.plan().views:
        names = [aggregate.name for aggregate in view.aggregates]
        for keys in batches((key for name, key in wanted if name == view.name), KEYS):
            answer = store.get_online_features(
                features=[f"{view.name}:{name}" for name in names],
                entity_rows=[{view.entity: key} for key in keys],
            ).to_dict(include_event_timestamps=True)
            for n, key in enumerate(keys):
                yield (
                    (view.name, key),
                    (1000 * answer[f"{names[0]}__ts"][n], [answer[name][n] for name in names]),
                )


def _redis(site: Site) -> dict[bytes, dict[bytes, bytes]]:
    address, *database = site.environment["DRIFTLINE_REDIS"].split(",db=")
    with Redis.from_url(f"redis://{address}/{(database or ['0'])[0]}") as client:
        return {key: client.hgetall(key) for key in client.scan_iter(count=10_000)}


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def _likelihood(score: float, truth: bool) -> float:
    return min(1 - 1e-15, max(1e-15, score if truth else 1.0 - score))  # River's clipping
