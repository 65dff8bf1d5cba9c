"""How far each feature moved in each window of served predictions, by the detector of the learn flow.

The drift topic has a signal for an alarm or a warning, with the five columns that moved furthest. The map has
every column of every window, so it is computed again from the features as served, by the same code.
"""

from collections.abc import Sequence
from typing import Any

from flows.core.drift.features.history import FeatureHistory, FullWindow
from flows.core.drift.levels import Position
from flows.core.serving.prediction_message import decode_batch
from flows.core.stream.broker import Broker, Record
from flows.core.stream.times import iso
from flows.errors import InvalidRecord
from flows.runtime.engine import Engine
from flows.runtime.learner import columns
from flows.serve.dashboard.merged_reader import MergedReader
from flows.serve.problems import Problem

MOST_PREDICTIONS = 500_000  # of each partition, that are read at first
MOST_WINDOWS = 100
_AT_ONCE = 5_000  # predictions, so that no other view waits for long


class DriftMap:
    """Compares the windows of the predictions topic as far as they are new, when it is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = MergedReader(engine.pipeline.topic("predictions"), MOST_PREDICTIONS)
        self._start()

    def read(self, broker: Broker) -> dict[str, Any]:
        """Read some of what is new; return the windows, and how many predictions are still to be read."""
        records = self._reader.new_records(broker, _AT_ONCE)
        if self._reader.has_begun_again:
            self._start()
        self._take(records)
        policy = self._engine.pipeline.drift.features()
        windows = list(self._history.windows)
        names = _furthest_first(windows)
        return {
            "predictions": self._rows,
            "unread": self._reader.unread,
            "since": iso(self._first) if self._rows else None,
            "is_complete": self._reader.is_complete,
            "is_comparing": self._history.is_comparing,
            "is_watched": "feature" in self._engine.pipeline.drift.kinds,
            "policy": {**policy._asdict(), "kept": MOST_WINDOWS},
            "columns": names,
            "windows": [_window(each, names) for each in windows],
        }

    def distribution(self, column: str, number: int) -> dict[str, Any]:
        """Return the distributions of a column in a window; raises `Problem` if there is none."""
        window = next((each for each in self._history.windows if each.number == number), None)
        if window is None or column not in window.columns:
            raise Problem(404, f"feature {column!r:.100} was not compared in window {number}; read the map")
        moved, drifted, distribution = window.columns[column]
        return {
            "column": column,
            "number": number,
            "since": iso(window.since),
            "until": iso(window.until),
            "psi": moved.psi,
            "p_value": moved.p_value,
            "drifted": drifted,
            "before": moved.before,
            "after": moved.after,
            "category": moved.category,
            **distribution._asdict(),
        }

    def _start(self) -> None:
        found = columns(self._engine.pipeline, self._engine.state.plan())
        kinds = {name: column.kind for name, column in found.items()}
        fills = {name: column.fill for name, column in found.items()}
        self._history = FeatureHistory(kinds, self._engine.pipeline.drift.features(), fills, MOST_WINDOWS)
        self._width = len(kinds)
        self._rows, self._first = 0, 0

    def _take(self, records: list[Record]) -> None:
        served = [
            (each.features, each.time, Position(*record[:3]))
            for each, record in zip(decode_batch(records), records, strict=True)
            if not isinstance(each, InvalidRecord) and len(each.features) == self._width
        ]
        if served:
            self._first = self._first if self._rows else served[0][1]
            self._rows += len(served)
            self._history.update(*zip(*served, strict=True))


def _window(window: FullWindow, names: Sequence[str]) -> dict[str, Any]:
    """Return a window, with the PSI in the order of `names`; null for a column that was not compared."""
    found = window.columns
    return {
        "number": window.number,
        "since": iso(window.since),
        "until": iso(window.until),
        "restarted": window.restarted,
        "psi": [round(found[name].moved.psi, 6) if name in found else None for name in names],
        "drifted": [name for name, column in found.items() if column.drifted],
    }


def _furthest_first(windows: Sequence[FullWindow]) -> list[str]:
    """Return the columns, the one that moved furthest in any window first."""
    furthest: dict[str, float] = {}
    for window in windows:
        for name, column in window.columns.items():
            furthest[name] = max(furthest.get(name, 0.0), column.moved.psi)
    return sorted(furthest, key=lambda name: -furthest[name])
