"""The metrics of a pipeline over time, and the marks of versions and drift on them."""

from collections import deque
from typing import Any

import orjson

from flows.core.serving.board.thinned import Thinned
from flows.core.stream.broker import Broker
from flows.runtime.engine import Engine
from flows.serve.dashboard.registry_watch import RegistryWatch
from flows.serve.dashboard.tail_reader import TailReader

MOST_MESSAGES = 100_000  # of the metrics topic, of each partition, that are read at first
MOST_POINTS = 800  # of a line
MOST_MARKS = 200
_MARKED = ("promoted", "canary", "frozen", "unfrozen")  # changes of the registry that change what is served


class ServedMetrics:
    """Reads the metrics and the drift topic as far as they are new, when it is asked."""

    def __init__(self, engine: Engine, registry: RegistryWatch) -> None:
        self._engine = engine
        self._registry = registry
        self._metrics = TailReader(engine.pipeline.topic("metrics"), MOST_MESSAGES)
        self._drift = TailReader(engine.pipeline.topic("drift"), MOST_MARKS)
        self._total, self._recent = Thinned[dict[str, Any]](MOST_POINTS), Thinned[dict[str, Any]](MOST_POINTS)
        self.signals: deque[dict[str, Any]] = deque(maxlen=MOST_MARKS)
        self.last: dict[str, Any] | None = None
        self.assessment: dict[str, Any] | None = None

    def read(self, broker: Broker) -> None:
        """Read what is new."""
        for record in self._metrics.new_records(broker):
            self._take(orjson.loads(record.value or b"{}"))
        for record in self._drift.new_records(broker):
            self.signals.append(_signal(orjson.loads(record.value or b"{}")))

    def series(self, broker: Broker) -> dict[str, Any]:
        """Return the points since the first label and over the last labels, and the marks; oldest first."""
        self.read(broker)
        changes = [
            {name: getattr(each, name) for name in ("time", "change", "version", "who", "why")}
            for each in self._registry.read(broker).entries
            if each.change in _MARKED and each.steps
        ]
        metrics = self._engine.pipeline.fresh_metrics()
        return {
            "bigger_is_better": {name: metric.bigger_is_better for name, metric in metrics.items()},
            "total": self._total.items,
            "recent": self._recent.items,
            "changes": changes[-MOST_MARKS:],
            "signals": list(self.signals),
            "assessment": self.assessment,
        }

    def _take(self, message: dict[str, Any]) -> None:
        point = {name: message[name] for name in ("time", "model", "labels", "metrics")}
        self._total.extend([point])
        self.last = message
        assessment = message.get("assessment")
        if assessment is not None:
            self.assessment = {"time": message["time"], "labels": message["labels"], **assessment}
            self._recent.extend([{**point, "metrics": assessment["recent"]["metrics"]}])


def _signal(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    return {
        "time": event["time"],
        "kind": event["type"].rpartition(".")[2],
        "version": event["subject"],
        "severity": data["severity"],
        "status": data["status"],
        "why": data["annotations"]["summary"],
        "columns": data["columns"],
    }
