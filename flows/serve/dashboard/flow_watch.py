"""What is known of the flows of a pipeline: from their own metrics, and from their offsets on the topics."""

import time
from collections import Counter
from collections.abc import Callable
from math import isnan
from typing import Any

from flows.adapters.prometheus.scrape import Scraped, scrape
from flows.core.serving.board.buckets import quantile
from flows.core.serving.board.rates import Rates
from flows.core.serving.board.states import FlowCondition, Seen, flow_state
from flows.core.stream.broker import Broker
from flows.runtime.engine import Engine
from flows.runtime.runner import FLOWS, port_of
from flows.serve.dashboard.offset_watch import Offsets, OffsetWatch

EVERY = 2.0  # seconds between two looks, however many windows ask

_LATENCY = "driftline_end_to_end_seconds_bucket"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the flows' setting, not ours


class FlowWatch:
    """Looks at the flows when it is asked, and keeps what it needs for rates and recent latencies."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._offsets = OffsetWatch(engine.pipeline)
        self._seen: dict[str, Any] = {}
        self._look_at = 0.0
        self._rates = Rates()
        self._latencies = Rates()

    def look(self, broker: Broker) -> dict[str, Any]:
        """Return the flows with their states, the rates of the topics, and the latency of the predictions."""
        now = self._clock()
        if now >= self._look_at:
            self._seen = self._look(broker, now)
            self._look_at = now + EVERY
        return self._seen

    def _look(self, broker: Broker, now: float) -> dict[str, Any]:
        offsets = self._offsets.read(broker, now)
        read = {f"read by {flow}": float(sum(topics.values())) for flow, topics in offsets.read.items()}
        self._rates.add(now, {**read, **offsets.ends})
        processes = {flow: self._processes(flow) for flow in FLOWS}
        return {
            "flows": [self._flow(flow, offsets, found) for flow, found in processes.items()],
            "topics": [
                {"topic": topic, "records": count, "rate": self._rates.of(topic)}
                for topic, count in offsets.counts.items()
            ],
            "latency": self._latency(processes["predict"] or [], now),
            "events": offsets.counts[self._engine.pipeline.events.topic],
        }

    def _processes(self, flow: str) -> list[Scraped] | None:
        """Return what the processes of a flow say; None if their ports are not known."""
        settings, pipeline = self._engine.settings, self._engine.pipeline
        if not settings.http_port:
            return None
        host, found = settings.host_of(flow), []
        for number in range(pipeline.partitions):
            said = scrape(_ANY_ADDRESS.get(host, host), port_of(settings.http_port, flow, number))
            if said is None or not said.runs(pipeline.name, flow):
                break
            found.append(said)
        return found

    def _flow(self, flow: str, offsets: Offsets, processes: list[Scraped] | None) -> dict[str, Any]:
        lags = {topic: max(0, offsets.ends[topic] - read) for topic, read in offsets.read[flow].items()}
        rate = self._rates.of(f"read by {flow}")
        lag = sum(lags.values()) if lags else None
        waits_for = next((each.waits_for for each in processes or () if each.waits_for is not None), None)
        state: FlowCondition = flow_state(
            Seen(None if processes is None else bool(processes), waits_for, lag, rate)
        )
        return {
            "flow": flow,
            "state": state,
            "why": waits_for,
            "processes": None if processes is None else len(processes),
            "lag": lag,
            "lags": lags,
            "rate": rate,
            "memory": sum(each.total("process_resident_memory_bytes") for each in processes or ()) or None,
        }

    def _latency(self, processes: list[Scraped], now: float) -> dict[str, float] | None:
        """Return quantiles of the latency since some seconds, in seconds; None if it is not measured."""
        counts: Counter[str] = Counter()
        for said in processes:
            for sample in said.samples(_LATENCY):
                counts[sample.labels["le"]] += int(sample.value)
        self._latencies.add(now, counts)
        bounds = sorted(counts, key=float)
        increase = [self._latencies.of(bound) or 0.0 for bound in bounds]
        if not increase or not increase[-1]:
            increase = [float(counts[bound]) for bound in bounds]  # since the flow's start
        shares = {"p50": 0.5, "p99": 0.99}
        found = {name: quantile([*map(float, bounds)], increase, share) for name, share in shares.items()}
        return None if any(map(isnan, found.values())) else found
