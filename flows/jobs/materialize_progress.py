"""How far the materialize flow has written to Feast's stores."""

import time
from collections.abc import Callable

from flows.core.stream.broker import Broker
from flows.pipeline import Pipeline

PATIENCE = 60.0  # seconds without progress until `wait` gives up
_POLL = 0.2  # seconds between two reads of the flow's offsets


class MaterializeProgress:
    """Compares the flow's offsets with the current end of its topics; later records do not count."""

    def __init__(self, pipeline: Pipeline, broker: Broker) -> None:
        self._broker = broker
        self._group = pipeline.group("materialize")
        topics = [pipeline.topic(kind) for kind in ("predictions", "features")]
        self._ends = {topic: [end for _, end in broker.offsets(topic)] for topic in topics}

    def lag(self) -> int:
        """Return the number of records that the flow has yet to write."""
        return sum(map(self._lag_of, self._ends))

    def wait(self, advance: Callable[[int], None], patience: float = PATIENCE) -> int:
        """Wait until the lag is 0 or unchanged for `patience` seconds; return the lag."""
        lag, deadline = self.lag(), time.monotonic() + patience
        while lag and time.monotonic() < deadline:
            time.sleep(_POLL)
            before, lag = lag, self.lag()
            if lag < before:
                advance(before - lag)
                deadline = time.monotonic() + patience
        return lag

    def _lag_of(self, topic: str) -> int:
        read = self._broker.committed(self._group, topic)
        return sum(max(0, end - read.get(number, 0)) for number, end in enumerate(self._ends[topic]))
