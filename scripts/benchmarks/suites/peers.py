"""Predict and learn beside the peers, which do the same work on the same Kafka, and a bare loop.

The work is a scaler and a logistic regression on ten numbers of each event. Driftline predicts with the
plain model and, under another name, with one that it does not compile. Each program begins with a model that
has learned 1,000 events, and stores its progress every 2 s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.figures import CPU, WALL, Figure
from scripts.benchmarks.harness.processes import Rate
from scripts.benchmarks.harness.site import BENCH
from scripts.benchmarks.harness.ten_numbers import EVENTS
from scripts.benchmarks.peers.environments import FAUST, PEERS
from scripts.benchmarks.peers.programs import BARE, Programs, bare_rate
from scripts.faults.servers import kafka

PREDICT, COMPILED, LEARN = "predict, River's scorer", "predict, compiled scorer", "learn"
FOLDER = BENCH / "peers"
OTHER, LINEAR = {"BENCH_MODEL": "other"}, {"BENCH_MODEL": "linear"}
FAUST_SHARE = 5  # Faust gets a fifth of the events, since it takes ten times as long for each


class Work(NamedTuple):
    """One work of the peers, with the works of Driftline that are compared with it."""

    environment: Mapping[str, str]
    ours: Sequence[str]


WORKS = (Work({"LEARN": "0"}, (PREDICT, COMPILED)), Work({"LEARN": "1"}, (LEARN,)))


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds over `events` events; the programs take turns."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with kafka(FOLDER / "kafka") as url:
        bench = _Bench(url, events)
        ours: dict[str, list[Rate]] = {}
        theirs: dict[tuple[str, str], list[Rate]] = {}
        for _ in range(runs):
            for name, program in bench.ours().items():
                ours.setdefault(name, []).append(program())
            for work in WORKS:
                for name, measured in bench.theirs(work):
                    for each in work.ours:
                        theirs.setdefault((each, name), []).append(measured)
    for (work_name, name), rates in theirs.items():
        mine = ours[work_name]
        yield Figure(work_name, name, CPU, [rate.cpu for rate in mine], [rate.cpu for rate in rates])
        if name != BARE:
            yield Figure(work_name, name, WALL, [rate.wall for rate in mine], [rate.wall for rate in rates])


class _Bench:
    """The programs on one Kafka, with a fixed number of events."""

    def __init__(self, url: str, events: int) -> None:
        self._count = events
        self._site = ten_numbers.site(FOLDER / "project", url)
        self._site.publish(ten_numbers.event_records(events))
        self._site.publish(ten_numbers.label_records(events))
        self._file = ten_numbers.events_file(FOLDER / "events.jsonl", events)
        self._programs = Programs(self._site.broker, url.removeprefix("kafka://"), EVENTS, FOLDER)

    def ours(self) -> dict[str, Callable[[], Rate]]:
        """Return Driftline's programs in order; learn needs the predictions of the one before."""
        return {
            PREDICT: lambda: self._predict(OTHER),
            COMPILED: lambda: self._predict(LINEAR),
            LEARN: lambda: self._site.learn_rate(self._count, LINEAR),
        }

    def _predict(self, environment: Mapping[str, str]) -> Rate:
        self._site.forget("predict", "learn")
        return self._site.predict_rate(self._count, environment)

    def theirs(self, work: Work) -> Iterator[tuple[str, Rate]]:
        """Yield the rates of the bare loop and of the peers."""
        yield BARE, bare_rate(self._file, work.environment)
        for peer in PEERS:
            number = self._count // FAUST_SHARE if peer is FAUST else self._count
            yield peer.name, self._programs.rate(peer, number, work.environment)
