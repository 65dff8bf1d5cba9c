"""`driftline serve` beside FastAPI and MLServer: latency and CPU time of a request.

The model is that of `peers`. `infer` scores one row of ten numbers: plain FastAPI calls River in the server's
process; MLServer has scikit-learn's scaler and regression. `events?wait` goes through the log on Kafka:
FastAPI produces the event and predicts in its own consumer loop, or it reads the prediction that another
program writes to a topic, which is the journey of Driftline.

All servers of a work run at once and take turns. Every connection stays open and sends its next request after
an answer.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count, islice
from statistics import fmean
from typing import Any, NamedTuple

import orjson

from scripts.benchmarks.harness import ten_numbers
from scripts.benchmarks.harness.closed_loop import ask
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.probe import percentile
from scripts.benchmarks.harness.site import BENCH
from scripts.benchmarks.peers import model
from scripts.benchmarks.peers.environments import FASTAPI, MLSERVER
from scripts.benchmarks.peers.servers import Server, Servers
from scripts.faults.servers import kafka

FOLDER = BENCH / "serve"
OURS, LOOP, DOOR = "Driftline", f"{FASTAPI.name}, own loop", f"{FASTAPI.name}, two programs"
CONNECTIONS = (1, 16)
TURNS = 10  # in which the requests of a round are sent
WARM_UP = 300  # requests
SHARES = {"p50": 0.5, "p99": 0.99}
LIMIT = {"DRIFTLINE_SERVE_RATE": "1000000"}  # requests/s of one caller, which the client is
NEAR, ALIKE = 1e-9, 0.2  # differences of the scores; scikit-learn fits another regression than River


class Measured(NamedTuple):
    """Latencies (ms) by name, and CPU time (ms) of a request."""

    by_name: Mapping[str, float]
    cpu: float


def measure(events: int, runs: int) -> Iterator[Figure]:
    """Yield the figures of `runs` rounds of `events` requests for each server and number of connections."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with kafka(FOLDER / "kafka") as url:
        site, asked = ten_numbers.site(FOLDER / "project", url, LIMIT), Events()
        with ExitStack() as stack:
            servers = Servers(stack, site, FOLDER, url.removeprefix("kafka://"))
            inferring = {
                OURS: servers.inferring(),
                FASTAPI.name: servers.fastapi_inferring(),
                MLSERVER.name: servers.mlserver(),
            }
            yield from _figures("infer", inferring, asked, events, runs)
        with ExitStack() as stack:
            servers = Servers(stack, site, FOLDER, url.removeprefix("kafka://"))
            publishing = {
                OURS: servers.publishing(),
                LOOP: servers.fastapi_with_loop(),
                DOOR: servers.fastapi_with_predictor(),
            }
            yield from _figures("events?wait", publishing, asked, events // 2, runs)


class Events:
    """Events with ids that were not used before, at the time of the clock."""

    def __init__(self) -> None:
        self._numbers = count()
        self._draws = list(model.events(1_000))

    def next(self, number: int) -> list[dict[str, Any]]:
        """Return the next events."""
        now = time.time_ns() // 1_000_000
        drawn = islice(self._numbers, number)
        return [self._draws[n % len(self._draws)] | {"id": f"r{n}", "ts": now} for n in drawn]


def _figures(
    work: str, servers: Mapping[str, Server], asked: Events, number: int, runs: int
) -> Iterator[Figure]:
    for name, server in servers.items():
        _check_scores(name, server, asked.next(WARM_UP))
    for connections in CONNECTIONS:
        rounds = [_round(servers, asked, number, connections) for _ in range(runs)]
        condition = f"{work}, {connections} connection{'s' * (connections > 1)}"
        for name in servers:
            if name != OURS:
                yield from _compared(condition, name, [(of[OURS], of[name]) for of in rounds])


def _check_scores(name: str, server: Server, events: Sequence[Mapping[str, Any]]) -> None:
    """Raise `SystemExit` unless the server gives the scores of its model; it is warm then."""
    river = model.trained_model()
    expected = [river.predict_proba_one({n: each[n] for n in model.NAMES})[True] for each in events]
    scores = [
        server.score(orjson.loads(each.body)) for each in ask(server.port, 1, map(server.request, events))
    ]
    difference = fmean(abs(score - wanted) for score, wanted in zip(scores, expected, strict=True))
    if difference > (ALIKE if name == MLSERVER.name else NEAR):
        raise SystemExit(f"the scores of {name} must be those of the model, but differ by {difference:g}")


def _round(
    servers: Mapping[str, Server], asked: Events, number: int, connections: int
) -> dict[str, Measured]:
    """Return what `number` requests took of each server, sent in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    spent = dict.fromkeys(servers, 0.0)
    for _ in range(TURNS):
        for name, server in servers.items():
            requests = [server.request(event) for event in asked.next(number // TURNS)]
            before = server.cpu_seconds()
            seconds[name] += [answer.seconds for answer in ask(server.port, connections, requests)]
            spent[name] += server.cpu_seconds() - before
    return {name: _measured(of_server, spent[name]) for name, of_server in seconds.items()}


def _measured(seconds: Sequence[float], spent: float) -> Measured:
    by_name = {name: 1000 * percentile(seconds, share) for name, share in SHARES.items()}
    return Measured(by_name, 1000 * spent / len(seconds))


def _compared(condition: str, baseline: str, rounds: Sequence[tuple[Measured, Measured]]) -> Iterator[Figure]:
    for name in SHARES:
        ours, theirs = zip(
            *((mine.by_name[name], other.by_name[name]) for mine, other in rounds), strict=True
        )
        yield Figure(f"{condition}, {name}", baseline, "ms", ours, theirs, higher_is_better=False)
    ours, theirs = zip(*((mine.cpu, other.cpu) for mine, other in rounds), strict=True)
    yield Figure(
        f"{condition}, CPU", baseline, "ms of CPU time a request", ours, theirs, higher_is_better=False
    )
