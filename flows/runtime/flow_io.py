"""Makes the sources and sinks of a pipeline's flows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from flows.adapters.bytewax.idle import Idle
from flows.adapters.bytewax.sink import TopicSink
from flows.adapters.bytewax.source import PACE, MergedSource, SourceSettings
from flows.core.stream.broker import Broker
from flows.core.stream.drain import Drain
from flows.pipeline import Pipeline
from flows.runtime.telemetry import Telemetry

# kinds of topics whose records have their id as key, and no header for it
IDS_ARE_KEYS = ("predictions",)


@dataclass(frozen=True)
class FlowIO:
    """Input and output of the flows of one pipeline.

    `batch` is the largest number of records in a batch. `drain` ends the sources; `telemetry` observes the
    sources and sinks; `idle` lets the flow sleep while it has nothing to do.
    """

    pipeline: Pipeline
    open_broker: Callable[[], Broker]
    batch: int
    drain: Drain
    telemetry: Telemetry
    idle: Idle

    def source(
        self,
        flow: str,
        topics: Sequence[str],
        broadcast: Sequence[str] = (),
        *,
        start: Mapping[str, int] | None = None,
        pace: float = PACE,
        pace_of_record: float = inf,
    ) -> MergedSource:
        """Return the source of a flow; the arguments are those of `SourceSettings`."""
        settings = SourceSettings(
            self.pipeline.group(flow),
            topics,
            broadcast,
            start or {},
            self.pipeline.decoders(),
            source_slots(self.pipeline, flow),
            self.batch,
            pace,
            pace_of_record,
        )
        return MergedSource(self.open_broker, settings, self.telemetry, self.drain, self.idle)

    def sink(self, kinds: Sequence[str]) -> TopicSink:
        """Return a sink that writes the pipeline's own topics of these kinds."""
        pipeline = self.pipeline
        topics, by_key = map(pipeline.topic, kinds), map(pipeline.topic, IDS_ARE_KEYS)
        return TopicSink(
            self.open_broker, list(topics), set(by_key), pipeline.partitions, self.telemetry, self.idle
        )

    def waits_for(self) -> str | None:
        """Return why the flow is not ready, None if it is: the answer to `/readyz`."""
        return None if self.telemetry.has_partitions else "the partitions are not assigned yet"


def source_slots(pipeline: Pipeline, flow: str) -> int:
    """Return the number of slots of a flow's source: one per partition of the pipeline.

    The learn flow has one slot. With more, a partition that is ahead in event time would end the label wait
    of the others. The retrain flow has one, so that it trains for one trigger at a time.
    """
    return 1 if flow in ("learn", "retrain") else pipeline.partitions
