"""The gates of a promotion, as the learner published them last."""

from math import inf
from typing import Any

from flows.core.learning.contest import PromotionGate
from flows.core.registry.registry import Registry
from flows.core.stream.broker import Broker
from flows.errors import CommandRefused
from flows.jobs.models.newest import last_metrics
from flows.pipeline import Pipeline


def promotion_gates(
    pipeline: Pipeline, broker: Broker, registry: Registry, version: str
) -> list[PromotionGate]:
    """Return the gates of a promotion of a registered version.

    Raises `UnknownVersion`, and `CommandRefused` for a version that is in no contest with the champion.
    """
    wanted, champion = registry.find(version), registry.champion
    if wanted is champion or wanted.role == "retired":
        raise CommandRefused(
            f"a version must be in the shadow to be promoted, got {wanted.name!r}, which is {wanted.role}; "
            "see `driftline models list`"
        )
    newest = last_metrics(pipeline, broker) or {}
    gates = newest.get("gates", {}).get(wanted.name)
    if gates is None or champion is None or newest["model"] != champion.name:
        raise CommandRefused(
            f"the learner has published no gates of {wanted.name!r} yet; it does with the metrics after the "
            "next labels: let the learn flow run"
        )
    return [_gate(**gate) for gate in gates]


def _gate(value: float | None, **others: Any) -> PromotionGate:
    """Return a gate; JSON has no infinity."""
    return PromotionGate(value=inf if value is None else value, **others)
