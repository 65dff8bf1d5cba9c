"""Compares two versions: what they were made of, and their measures over the labels that both scored."""

from typing import Any, NamedTuple

from flows.core.learning.comparison import Measure, compare
from flows.core.lineage import differences
from flows.core.models.tasks import task_of
from flows.core.registry.registry import Registry
from flows.core.stream.broker import Broker
from flows.errors import ConfigError
from flows.jobs.models.comparison import common_scores
from flows.jobs.models.facts import known_version
from flows.jobs.models.versions import NewestMessages
from flows.runtime.engine import Engine


class Compared(NamedTuple):
    """Two versions: what differs in their lineage, and their measures over the labels that both scored."""

    first: str
    second: str
    lineage: dict[str, tuple[Any, Any]]
    labels: int
    block: int
    measures: list[Measure]

    def better(self, measure: Measure) -> str | None:
        """Return the version with the better value, whatever the confidence; None if neither is better."""
        if measure.difference == 0 or measure.difference != measure.difference:  # NaN
            return None
        return self.second if (measure.difference > 0) == measure.bigger_is_better else self.first

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        measures = [
            {**each._asdict(), "difference": each.difference, "better": self.better(each)}
            for each in self.measures
        ]
        return {**self._asdict(), "measures": measures}


def compare_versions(
    engine: Engine, broker: Broker, registry: Registry, messages: NewestMessages, names: tuple[str, str]
) -> Compared:
    """Return the comparison of two versions.

    Raises `UnknownVersion`, `SnapshotError`, and `ConfigError` if both are the same or share no labels.
    """
    pipeline, (first, second) = engine.pipeline, map(registry.find, names)
    if first is second:
        raise ConfigError(f"A and B must be two versions, got {first.name!r} twice; name another one")
    pairs = common_scores(pipeline, broker, first, second)
    lineages = [known_version(engine, broker, each, messages).facts.lineage for each in (first, second)]
    block = pipeline.retrain.block
    metrics = [pipeline.fresh_metrics(), pipeline.fresh_metrics()]
    measures = compare(task_of(pipeline.task), metrics, pairs, block)
    return Compared(first.name, second.name, differences(*lineages), len(pairs), block, measures)
