"""The requests of callers of `driftline serve`: events with and without a wait, labels, batches, reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from threading import Lock
from typing import Any, Literal

import orjson

from flows.core.stream.times import iso
from flows.runtime.engine import Engine
from scripts.tools.endless import DAY, START, flights

Kind = Literal["event and wait", "event", "label", "events, lines", "labels, lines", "infer", "prediction"]

STEP = 100  # ms of event time between two events, so that one that is sent again is not late
LINES = 10  # records in a batch
KNOWN_AFTER = 3_600_000  # ms until a label is known
WAIT = 5  # seconds
_DATATYPES = {"int": "INT64", "float": "FP64", "string": "BYTES"}
_VALUES = {"int": 1, "float": 0.5, "string": "AA"}
# of 20 requests
_MIX: Sequence[Kind] = (
    *["event and wait"] * 8, *["event"] * 4, *["label"] * 4,
    "events, lines", "labels, lines", "infer", "prediction",
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """A request, with the ids of the events or labels that it publishes."""

    kind: Kind
    method: str
    path: str
    body: bytes = b""
    ids: Sequence[str] = ()

    @property
    def content_type(self) -> str:
        """The type of the body."""
        return "application/x-ndjson" if self.kind.endswith("lines") else "application/json"


class Traffic:
    """Draws requests about one pipeline of flights. Thread-safe."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._pipeline = engine.pipeline
        self._random = Random(seed)  # noqa: S311 (no secret)
        self._events = _events()
        self._unlabelled: list[tuple[str, int]] = []  # ids of answered events, and their times
        self._predicted: list[str] = []
        self._times: dict[str, int] = {}
        self._infer = orjson.dumps({"inputs": list(_inputs(engine))})
        self._lock = Lock()

    def next(self) -> Ask:
        """Return the next request; where labels or predictions are still missing, it publishes an event."""
        with self._lock:
            kind = self._random.choice(_MIX)
            if kind in ("label", "labels, lines"):
                return self._labels(kind) or self._publishing("event", 1)
            if kind == "prediction" and self._predicted:
                name = self._random.choice(self._predicted[-1000:])
                return Ask(kind, "GET", f"/v1/{self._pipeline.name}/predictions/{name}")
            if kind == "infer":
                return Ask(kind, "POST", f"/v2/models/{self._pipeline.name}/infer", self._infer)
            if kind == "events, lines":
                return self._publishing(kind, LINES)
            return self._publishing("event" if kind == "event" else "event and wait", 1)

    def is_answered(self, ask: Ask, has_prediction: bool) -> None:
        """Let labels follow the events of an answered request, and readers ask for their predictions."""
        if "event" in ask.kind:
            with self._lock:
                self._unlabelled += [(name, self._times.pop(name)) for name in ask.ids]
                self._predicted += ask.ids if has_prediction else ()

    def _publishing(self, kind: Kind, count: int) -> Ask:
        payloads = list(islice(self._events, count))
        self._times |= {name: time for name, time, _ in payloads}
        query = "" if kind == "event" else f"?wait={WAIT}"
        path = f"/v1/{self._pipeline.name}/events{query}"
        return Ask(kind, "POST", path, b"\n".join(p for *_, p in payloads), [name for name, *_ in payloads])

    def _labels(self, kind: Kind) -> Ask | None:
        count = LINES if kind == "labels, lines" else 1
        if len(self._unlabelled) < count:
            return None
        chosen, self._unlabelled = self._unlabelled[:count], self._unlabelled[count:]
        lines = [
            orjson.dumps({"flight_id": name, "known_at": iso(time + KNOWN_AFTER), "late": time % 3 == 0})
            for name, time in chosen
        ]
        path = f"/v1/{self._pipeline.name}/labels"
        return Ask(kind, "POST", path, b"\n".join(lines), [name for name, _ in chosen])


def _events() -> Iterator[tuple[str, int, bytes]]:
    """Yield the id, the event time (ms) and the body of flights."""
    times = range(START, START + 100 * DAY, STEP)
    bodies = (record for record in flights(DAY // STEP) if record.topic == "flights")
    for time, record in zip(times, bodies, strict=False):
        yield (record.key or b"").decode(), time, record.value or b""


def _inputs(engine: Engine) -> Iterator[dict[str, Any]]:
    """Yield a tensor for each feature of the model, so that no store is read."""
    plan, fields = engine.state.plan(), {"carrier": "AA"}
    named = [(name, "string" if name in fields else "float") for name in engine.pipeline.inputs]
    for name, dtype in (*named, *zip(plan.names, plan.dtypes, strict=True)):
        yield {"name": name, "shape": [1], "datatype": _DATATYPES[dtype], "data": [_VALUES[dtype]]}
