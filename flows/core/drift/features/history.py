"""The windows of feature drift with their distributions, for people."""

from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

from flows.core.drift.columns import ColumnKind, Distribution
from flows.core.drift.features.detector import FeatureDrift
from flows.core.drift.features.policy import DriftedColumn, FeatureAlarm, FeaturePolicy
from flows.core.drift.levels import Cleared, Position


class ComparedColumn(NamedTuple):
    """A column of a window: how far it moved, whether significantly and by enough, and its distributions."""

    moved: DriftedColumn
    drifted: bool
    distribution: Distribution


class FullWindow(NamedTuple):
    """A full window from `since` to `until` (ms); `columns` are those that could be compared.

    Windows are numbered from 0 on. `restarted` says that an alarm began a new reference after it.
    """

    number: int
    since: int
    until: int
    columns: Mapping[str, ComparedColumn]
    restarted: bool


class FeatureHistory(FeatureDrift):
    """A `FeatureDrift` that keeps its last `most` windows; each takes some 20 numbers for each column."""

    def __init__(
        self, columns: Mapping[str, ColumnKind], policy: FeaturePolicy, fills: Mapping[str, float], most: int
    ) -> None:
        super().__init__(columns, policy, (), fills)
        self.windows: deque[FullWindow] = deque(maxlen=most)
        self._numbers = count()

    @property
    def is_comparing(self) -> bool:
        """Whether the reference of a column is full."""
        return any(group.comparison is not None for group in self._groups)

    def _judge(self, time: int, position: Position) -> list[FeatureAlarm | Cleared]:
        since, distributions = self._since, self._distributions()  # before the window is empty again
        alarms = super()._judge(time, position)
        drifted = {each.column for each in self._moved()}
        columns = {
            moved.column: ComparedColumn(moved, moved.column in drifted, distribution)
            for moved in self.compared_columns
            if (distribution := distributions[moved.column]) is not None
        }
        restarted = any(isinstance(each, FeatureAlarm) and each.level == "alarm" for each in alarms)
        self.windows.append(FullWindow(next(self._numbers), since, time, columns, restarted))
        return alarms

    def _distributions(self) -> dict[str, Distribution | None]:
        found: dict[str, Distribution | None] = {}
        for group in self._groups:
            if group.joined:
                found |= group.distributions()
        return found
