"""Histograms for what happens in each batch. The library's own cost 3 to 8 us a value."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class _Buckets:
    """The counts of one histogram, for one thread that observes."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = [*bounds, float("inf")]
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe_all(self, values: Iterable[float]) -> None:
        """Add the values; one that equals the bound of a bucket is in that bucket."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the cumulative buckets to a metric."""
        totals = map(float, accumulate(self._counts))
        family.add_metric(
            labels, list(zip(map(floatToGoString, self._bounds), totals, strict=True)), self._sum
        )


class BulkHistogram(_Buckets, Collector):
    """A Prometheus histogram without labels that observes many values at once, for one thread."""

    def __init__(
        self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        super().__init__(buckets)
        self._name = name
        self._documentation = documentation
        registry.register(self)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Yield the metric."""
        family = HistogramMetricFamily(self._name, self._documentation)
        self.add_to(family, [])
        yield family


class Stopwatch(_Buckets):
    """Observes how long each block takes that it is the context of; for one thread, and not nested."""

    _began = 0.0

    def time(self) -> Stopwatch:
        """Return the context of a block."""
        return self

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.observe_all((time.perf_counter() - self._began,))


class StopwatchHistogram(Collector):
    """A Prometheus histogram of durations with one label; each of its values belongs to one thread."""

    def __init__(
        self, name: str, documentation: str, label: str, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = buckets
        self._stopwatches: dict[str, Stopwatch] = {}
        registry.register(self)

    def labels(self, value: str) -> Stopwatch:
        """Return the stopwatch for a value of the label."""
        found = self._stopwatches.get(value)
        if found is None:
            found = self._stopwatches.setdefault(value, Stopwatch(self._bounds))
        return found

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Yield the metric."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, stopwatch in list(self._stopwatches.items()):
            stopwatch.add_to(family, [value])
        yield family
