"""What the dashboard shows of one pipeline."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flows.core.serving.board.states import pipeline_state
from flows.core.stream.broker import Broker
from flows.errors import BrokerError, DriftlineError
from flows.runtime.engine import Engine
from flows.serve.dashboard.dead_letters import DeadLetters
from flows.serve.dashboard.drift_map import DriftMap
from flows.serve.dashboard.flow_watch import FlowWatch
from flows.serve.dashboard.registry_watch import RegistryWatch
from flows.serve.dashboard.served_metrics import ServedMetrics

_Answer = dict[str, Any]


class Board:
    """Reads what the views show when they ask, so that a dashboard that nobody looks at costs nothing.

    One thread reads, since several windows may ask at once; it keeps its connection to the broker.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._registry = RegistryWatch(engine)
        self._metrics = ServedMetrics(engine, self._registry)
        self._watch = FlowWatch(engine)
        self._letters = DeadLetters(engine.pipeline)
        self._drift = DriftMap(engine)
        self._thread = ThreadPoolExecutor(1, f"dashboard of {engine.pipeline.name}")
        self._broker: Broker | None = None

    async def overview(self) -> _Answer:
        """Return the state of the pipeline and of its flows; an engine's error is the state "broken"."""
        about = {"pipeline": self._engine.pipeline.name, "task": self._engine.pipeline.task}
        try:
            return {**about, **await self._read(self._overview)}
        except DriftlineError as error:
            return {**about, "state": "broken", "why": str(error)}

    async def metrics(self) -> _Answer:
        """Return the metrics over time, with marks."""
        return await self._read(self._metrics.series)

    async def dead_letters(self) -> _Answer:
        """Return the dead letters by reason and topic, and the newest ones."""
        return await self._read(self._letters.read)

    async def drift(self) -> _Answer:
        """Return how far each feature moved in each window, and the drift signals about features."""
        return await self._read(self._drift_map)

    async def distribution(self, column: str, number: int) -> _Answer:
        """Return the distributions of a feature in a window and in its reference."""
        return await self._read(lambda _: self._drift.distribution(column, number))

    async def _read(self, read: Callable[[Broker], _Answer]) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_now, read)

    def _read_now(self, read: Callable[[Broker], _Answer]) -> _Answer:
        if self._broker is None:
            self._broker = self._engine.open_broker()
        try:
            return read(self._broker)
        except BrokerError:
            self._broker.close()
            self._broker = None
            raise

    def _drift_map(self, broker: Broker) -> _Answer:
        self._metrics.read(broker)
        signals = [each for each in self._metrics.signals if each["kind"] == "feature"]
        return {**self._drift.read(broker), "signals": signals}

    def _overview(self, broker: Broker) -> _Answer:
        pipeline = self._engine.pipeline
        seen = self._watch.look(broker)
        self._metrics.read(broker)
        champion = self._registry.read(broker).champion
        last = self._metrics.last or {}
        names = ("time", "labels", "pending", "expired", "metrics")
        return {
            "state": pipeline_state(seen["events"], [each["state"] for each in seen["flows"]]),
            **seen,
            "names": {
                "events": pipeline.events.topic,
                "labels": pipeline.labels.topic,
                **{kind: pipeline.topic(kind) for kind in ("predictions", "dead-letters", "drift")},
            },
            "champion": champion and {"version": champion.name, "frozen": champion.is_frozen},
            "learned": {name: last.get(name) for name in names},
        }
