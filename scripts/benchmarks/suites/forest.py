"""Predict and learn with an adaptive random forest of ten trees, against its bare loops."""

from collections.abc import Iterator
from itertools import chain

from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.site import BENCH
from scripts.benchmarks.peers.programs import BARE, bare_rate
from scripts.benchmarks.suites.in_turns import Work, in_turns

FOLDER = BENCH / "forest"
FOREST = {"BENCH_MODEL": "forest"}


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds over `events` events on the embedded log."""
    site = ten_numbers.site(FOLDER, environment=FOREST)
    site.publish(chain(ten_numbers.event_records(events), ten_numbers.label_records(events)))
    file = ten_numbers.events_file(FOLDER / "events.jsonl", events)

    def predict() -> float:
        site.forget("predict", "learn")
        return site.predict_rate(events).cpu

    works = {
        "forest of 10 trees: predict": Work(predict, lambda: bare_rate(file, {**FOREST, "LEARN": "0"}).cpu),
        "forest of 10 trees: learn": Work(
            lambda: site.learn_rate(events).cpu, lambda: bare_rate(file, {**FOREST, "LEARN": "1"}).cpu
        ),
    }
    yield from in_turns(works, BARE, runs)
