"""What the dashboard shows of one pipeline."""

from contextlib import closing
from threading import Lock
from typing import Any

from flows.core.serving.board.states import pipeline_state
from flows.errors import DriftlineError
from flows.jobs.models.commands import read_registry
from flows.runtime.engine import Engine
from flows.serve.dashboard.dead_letters import DeadLetters
from flows.serve.dashboard.flow_watch import FlowWatch
from flows.serve.dashboard.served_metrics import ServedMetrics


class Board:
    """Reads what the views show when they ask, so that a dashboard that nobody looks at costs nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._metrics = ServedMetrics(engine)
        self._watch = FlowWatch(engine)
        self._letters = DeadLetters(engine.pipeline.topic("dead-letters"))
        self._lock = Lock()  # several windows may ask at once

    def overview(self) -> dict[str, Any]:
        """Return the state of the pipeline and of its flows; an engine's error is the state "broken"."""
        pipeline = self._engine.pipeline
        about: dict[str, Any] = {"pipeline": pipeline.name, "task": pipeline.task}
        try:
            with self._lock, closing(self._engine.open_broker()) as broker:
                seen = self._watch.look(broker)
                self._metrics.read(broker)
                champion = read_registry(self._engine, broker)[0].champion
        except DriftlineError as error:
            return {**about, "state": "broken", "why": str(error)}
        last = self._metrics.last or {}
        names = ("time", "labels", "pending", "expired", "metrics")
        return {
            **about,
            "state": pipeline_state(None, seen["events"], [each["state"] for each in seen["flows"]]),
            **seen,
            "names": {
                "events": pipeline.events.topic,
                "labels": pipeline.labels.topic,
                **{kind: pipeline.topic(kind) for kind in ("predictions", "dead-letters", "drift")},
            },
            "champion": None
            if champion is None
            else {"version": champion.name, "frozen": champion.is_frozen},
            "learned": {name: last.get(name) for name in names},
        }

    def metrics(self) -> dict[str, Any]:
        """Return the metrics over time, with marks."""
        with self._lock, closing(self._engine.open_broker()) as broker:
            return self._metrics.series(broker)

    def dead_letters(self) -> dict[str, Any]:
        """Return the dead letters by reason and topic, and the newest ones."""
        with self._lock, closing(self._engine.open_broker()) as broker:
            return self._letters.read(broker)
