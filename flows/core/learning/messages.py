"""The messages of the learn flow on the drift and metrics topics."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from flows.core.drift.signal import CONTENT_TYPE, DriftSignal
from flows.core.learning.learner import Learner
from flows.core.stream.broker import Outgoing
from flows.core.stream.times import iso


def signal_record(topic: str, signal: DriftSignal) -> Outgoing:
    """Return the record of a drift signal."""
    identity = signal.id.encode()
    headers = (("id", identity), ("content-type", CONTENT_TYPE.encode()))
    return Outgoing(topic, signal.to_json(), identity, timestamp=signal.time, headers=headers)


def measurements(learner: Learner) -> dict[str, Any]:
    """Return the counts and the metrics of a learner, and the gates of each model in the shadow."""
    return {
        "pipeline": learner.pipeline,
        "time": iso(learner.learned_until),
        "model": learner.champion.version,
        "labels": learner.evaluation.labels,
        "pending": learner.pending,
        "expired": learner.expired,
        "assumed": learner.assumed,
        "outliers": learner.outliers.rows,
        "metrics": learner.evaluation.values(),
        "gates": {
            version: [gate._asdict() for gate in gates] for version, gates in learner.roles.gates.items()
        },
    }


def metrics_record(
    topic: str, kind: Literal["metrics", "assessment"], learner: Learner, body: Mapping[str, Any]
) -> Outgoing:
    """Return the record of the metrics, or of an assessment, after the labels learned so far."""
    headers = (("id", f"{kind}:{learner.evaluation.labels}".encode()),)
    return Outgoing(topic, orjson.dumps(body), timestamp=learner.learned_until, headers=headers)
