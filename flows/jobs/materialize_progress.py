"""How far the materialize flow has brought Feast's stores, for what compares or joins with them."""

import time
from collections.abc import Callable

from flows.core.stream.broker import Broker
from flows.runtime.engine import Engine

PATIENCE = 60.0  # seconds that the flow may take without any progress
_LOOK_EVERY = 0.2


class MaterializeProgress:
    """The stores against the records that stand on the topics now; what comes later does not matter."""

    def __init__(self, running: Engine, broker: Broker) -> None:
        pipeline = running.pipeline
        self._broker = broker
        self._group = pipeline.group("materialize")
        topics = [pipeline.topic(kind) for kind in ("predictions", "features")]
        self._ends = {topic: [end for _, end in broker.offsets(topic)] for topic in topics}

    def behind(self) -> int:
        """How many of the records are still to be written to the stores."""
        return sum(map(self._behind, self._ends))

    def wait(self, advance: Callable[[int], None], patience: float = PATIENCE) -> int:
        """Wait until all are written, or nothing was for `patience` seconds; how many are left."""
        left, deadline = self.behind(), time.monotonic() + patience
        while left and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
            before, left = left, self.behind()
            if left < before:
                advance(before - left)
                deadline = time.monotonic() + patience
        return left

    def _behind(self, topic: str) -> int:
        read = self._broker.committed(self._group, topic)
        return sum(max(0, end - read.get(number, 0)) for number, end in enumerate(self._ends[topic]))
