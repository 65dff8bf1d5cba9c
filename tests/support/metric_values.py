"""Values of Prometheus metrics."""

from typing import Any


def value_of(metric: Any) -> float:
    """Return the value of a counter or gauge whose labels are set."""
    (family,) = metric.collect()
    value: float = family.samples[0].value
    return value
