"""Online stores: write rate against Feast's `push`, and the time from an event to its readable row."""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import orjson
import pandas
from feast import FeatureStore
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from flows.adapters.feast.online import OnlineStore
from flows.adapters.feast.repo import apply, open_store
from flows.core.features.batch import Row
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso
from flows.runtime.engine import Engine
from scripts.benchmarks.harness.figures import Figure
from scripts.benchmarks.harness.site import BENCH
from scripts.tools.fresh import fresh_project

DIRECTORY = BENCH / "online"
VIEW = "origin_departures"
DIRECT = "write and read in one process"
PUSHED = 20  # calls of Feast's push with one row each
BATCHES, BATCH = 5, 1000  # calls, and the rows of each, as materialize writes them


def writes() -> Iterator[Figure]:
    """Yield the rows/s of distinct keys into SQLite and Redis, against Feast's push."""
    running = fresh_project(DIRECTORY)
    with redis_server() as address:
        os.environ["DRIFTLINE_REDIS"] = address
        for name, yaml in (("SQLite", "feature_store.yaml"), ("Redis", "feature_store.redis.yaml")):
            apply(running.project.feature_repo, yaml)
            single, batch, ours = _rates(running, yaml)
            yield Figure(f"rows into {name}", "Feast's push of 1 row", "rows/s", [ours], [single])
            yield Figure(f"rows into {name}", f"Feast's push of {BATCH:,} rows", "rows/s", [ours], [batch])


def _rates(running: Engine, yaml: str) -> tuple[float, float, float]:
    """Rows/s of Feast's push row by row, of its push of whole batches, and of ours."""
    plan, store = running.state.plan(), open_store(running.project.feature_repo, yaml)
    online = OnlineStore(store, plan)
    view = next(view for view in plan.views if view.name == VIEW)
    values = [1 if a.dtype == "int" else 1.5 for a in view.aggregates]
    now = time.time_ns() // 1_000_000
    moment = pandas.Timestamp(now, unit="ms", tz="UTC")
    row = {a.name: value for a, value in zip(view.aggregates, values, strict=True)}
    row |= {"event_timestamp": moment, "created": moment}

    def push(prefix: str, rows: int) -> None:
        frame = pandas.DataFrame([row | {view.entity: f"{prefix}-{n}"} for n in range(rows)])
        store.write_to_online_store(VIEW, frame)

    single = _seconds(lambda number: push(f"p{number}", 1), PUSHED)
    batch = _seconds(lambda number: push(f"b{number}", BATCH), BATCHES)
    ours = _seconds(
        lambda number: online.write(Row(VIEW, f"w{number}-{n}", now, values) for n in range(BATCH)), BATCHES
    )
    return 1 / single, BATCH / batch, BATCH / ours


def _seconds(call: Callable[[int], object], times: int) -> float:
    """Return the median seconds of a call, without the first one."""
    taken = []
    for number in range(times + 1):
        began = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis on a free port and yield its address."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _until(lambda: _answers(port), "redis-server answers")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return bool(Redis(port=port).ping())
    except RedisAway:
        return False


def freshness(events: int, pause: float = 0.1) -> Iterator[Figure]:
    """Yield the seconds from publishing a departure until the row of its origin is readable.

    The record passes the predict and materialize flows. The baseline writes and reads one row directly.
    """
    os.environ |= {"DRIFTLINE_BROKER": "", "DRIFTLINE_HTTP_PORT": "0", "RUST_BACKTRACE": "0"}
    running = fresh_project(DIRECTORY)
    flows = [
        subprocess.Popen([sys.executable, "-m", "flows.runtime.runner", flow], stderr=subprocess.DEVNULL)
        for flow in ("predict", "materialize")
    ]
    try:
        _measure(running, 1, pause)  # waits until both flows run
        taken = sorted(_measure(running, events, pause))
    finally:
        for process in flows:
            process.terminate()
            process.wait()
    base = _write_and_read(running)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = taken[round(share * (len(taken) - 1))]
        yield Figure(f"from an event to its readable row, {name}", DIRECT, "s", [value], [base], False)


def _write_and_read(running: Engine) -> float:
    """Return the seconds in which one process writes a row and reads it."""
    store = running.stores.feature_store()
    online = OnlineStore(store, running.state.plan())
    values = [None for a in next(v for v in running.state.plan().views if v.name == VIEW).aggregates]

    def write_and_read(number: int) -> None:
        online.write([Row(VIEW, f"direct{number}", time.time_ns() // 1_000_000, values)])
        _counts(store, [f"direct{number}"])

    return _seconds(write_and_read, 20)


def _measure(running: Engine, events: int, pause: float) -> list[float]:
    """Publish a departure of a new origin per `pause`; return the seconds until each is readable."""
    producer = running.open_broker().producer()
    store = running.stores.feature_store()
    waiting: dict[str, float] = {}
    taken: list[float] = []
    next_at, sent = time.monotonic(), 0
    deadline = next_at + 300 + events * pause
    while len(taken) < events:
        now = time.monotonic()
        if now > deadline:
            raise SystemExit("the rows did not reach the online store in time")
        if sent < events and now >= next_at:
            origin = f"{events}-{sent}"
            waiting[origin] = time.monotonic()
            producer.send([_departure(origin)])
            sent, next_at = sent + 1, next_at + pause
        keys = list(waiting)
        for key, count in zip(keys, _counts(store, keys) if keys else [], strict=True):
            if count is not None:
                taken.append(time.monotonic() - waiting.pop(key))
        time.sleep(0.005)
    producer.close()
    return taken


def _departure(origin: str) -> Outgoing:
    now = time.time_ns() // 1_000_000
    payload = {
        "flight_id": f"f{origin}",
        "origin": origin,
        "carrier": "UA",
        "route": f"{origin}-X",
        "tail_number": None,
        "delay": 1,
        "departed_at": iso(now),
    }
    return Outgoing("departures", orjson.dumps(payload), origin.encode(), timestamp=now)


def _counts(store: FeatureStore, origins: Sequence[str]) -> list[int | None]:
    answer = store.get_online_features([f"{VIEW}:count_1h"], [{"origin": origin} for origin in origins])
    counts: list[int | None] = answer.to_dict()["count_1h"]
    return counts


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"timed out waiting until {what}")
        time.sleep(0.01)
