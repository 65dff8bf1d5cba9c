"""The predict and the learn flow on the embedded log, against bare loops of River.

A bare loop decodes, calls the model and encodes. It has no parts of the engine, so that the ratio shows
what those cost. The flights' loop gets the features that were served.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import orjson

from flows.core.stream.broker import TopicPartition, read_range
from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.site import BENCH, Site
from scripts.benchmarks.peers.programs import BARE, bare_rate
from scripts.benchmarks.suites.in_turns import Work, in_turns
from scripts.tools.fresh import fresh_folder

FOLDER = BENCH / "smoke"
FLIGHTS_SHARE = 10  # a flight costs as much as ten events with ten numbers


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds over `events` events."""
    yield from _ten_numbers(events, runs)
    yield from _flights(events // FLIGHTS_SHARE, runs)


def _ten_numbers(events: int, runs: int) -> Iterator[Figure]:
    site = ten_numbers.site(FOLDER / "ten_numbers")
    site.publish(chain(ten_numbers.event_records(events), ten_numbers.label_records(events)))
    file = ten_numbers.events_file(FOLDER / "events.jsonl", events)

    def predict(model: str) -> float:
        site.forget("predict", "learn")
        return site.predict_rate(events, {"BENCH_MODEL": model}).cpu

    def learn() -> float:
        return site.learn_rate(events, {"BENCH_MODEL": "linear"}).cpu

    def bare(learn: str) -> float:
        return bare_rate(file, {"LEARN": learn}).cpu

    works = {
        "ten numbers: predict, River's scorer": Work(lambda: predict("other"), lambda: bare("0")),
        "ten numbers: predict, compiled scorer": Work(lambda: predict("linear"), lambda: bare("0")),
        "ten numbers: learn": Work(learn, lambda: bare("1")),
    }
    yield from in_turns(works, BARE, runs)


def _flights(events: int, runs: int) -> Iterator[Figure]:
    site = Site(fresh_folder(FOLDER / "flights", "flight_delays"))
    site.publish(site.engine.pipeline.load_dataset(events))
    site.predict_rate(events)  # the predictions that learn needs, and their features for the bare loops
    loop = FlightLoop(site)

    def predict() -> float:
        site.forget("predict")  # not learn: the models on its topic have learned
        return site.predict_rate(events).cpu

    def learn() -> float:
        site.forget("learn")
        return site.learn_rate(events).cpu

    works = {"flights: learn": Work(learn, loop.learn), "flights: predict": Work(predict, loop.predict)}
    yield from in_turns(works, BARE, runs)


class FlightLoop:
    """River alone over the flights: the events, predictions and labels of the site, and the model."""

    def __init__(self, site: Site) -> None:
        pipeline = site.engine.pipeline
        self._names = pipeline.feature_names(site.engine.state.plan())
        self._target, self._id = pipeline.target, pipeline.labels.id
        self._model = pipeline.new_model().estimator
        self._events = _values(site, pipeline.events.topic)
        self._predictions = _values(site, pipeline.topic("predictions"))
        self._labels = _values(site, pipeline.labels.topic)

    def learn(self) -> float:
        """Return the rate of decoding predictions and labels, and learning."""
        began, waiting = time.process_time(), {}
        for value in self._predictions:
            body = orjson.loads(value)
            waiting[body["id"]] = body["features"]
        for value in self._labels:
            label = orjson.loads(value)
            x = dict(zip(self._names, waiting.pop(label[self._id]), strict=True))
            self._model.learn_one(x, label[self._target])
        return len(self._labels) / (time.process_time() - began)

    def predict(self) -> float:
        """Return the rate of decoding events, scoring their served features, and encoding the scores."""
        served = [orjson.loads(value)["features"] for value in self._predictions]
        began = time.process_time()
        for value, features in zip(self._events, served, strict=True):
            event = orjson.loads(value)
            score = self._model.predict_proba_one(dict(zip(self._names, features, strict=True)))
            orjson.dumps({"id": event["flight_id"], "p": score.get(True, 0.5), "features": features})
        return len(self._events) / (time.process_time() - began)


def _values(site: Site, topic: str) -> Sequence[Any]:
    partition, end = TopicPartition(topic, 0), site.end(topic)
    return [record.value for batch in read_range(site.broker, partition, 0, end) for record in batch]
