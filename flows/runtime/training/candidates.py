"""Candidates: what each starts from, and the lineage from which its training can be repeated."""

import logging
from typing import Any, NamedTuple

from flows.core.learning.candidates.cuts import Cut
from flows.core.learning.candidates.intake import CUT
from flows.core.learning.candidates.plans import CandidatePlan
from flows.core.learning.candidates.search import SearchResult
from flows.core.learning.candidates.triggers import Trigger
from flows.core.learning.outliers import OutlierFilter
from flows.core.learning.training import Training
from flows.core.lineage import SnapshotDigest
from flows.core.models.model import Model
from flows.core.stream.broker import Broker
from flows.core.stream.times import iso
from flows.runtime.engine import Engine
from flows.runtime.training.champion import newest_champion
from flows.runtime.training.lineage import code_lineage
from flows.runtime.user_faults import FaultLog

_log = logging.getLogger("driftline.retrain")


class CandidateJob(NamedTuple):
    """A candidate to train; `found` is the search that chose its configuration."""

    trigger: Trigger
    plan: CandidatePlan
    found: SearchResult | None


class CopiedModel(NamedTuple):
    """The model that a candidate is a copy of, and how many events that had learned."""

    version: str
    learned: int


class Origin(NamedTuple):
    """An untrained candidate, and the model that it is a copy of, if it is one."""

    model: Model
    copied: CopiedModel | None = None


def origin_of(engine: Engine, job: CandidateJob, broker: Broker) -> Origin | None:
    """Return what a candidate starts from; None if that is the champion and there is none yet."""
    version, pipeline = job.plan.version, engine.pipeline
    if job.plan.kind == "warm":
        champion = newest_champion(broker, pipeline.topic("models"), engine.sealer())
        return None if champion is None else copy_of(champion, version)
    if job.found is not None and job.found.winner is not None:
        return Origin(pipeline.configured_model(version, job.found.winner))
    return Origin(pipeline.new_model(version))


def copy_of(champion: Model, version: str) -> Origin:
    """Return a copy of a model that has just been read; it has the same estimator."""
    model = Model(version, champion.estimator, champion.learned, champion.task)
    return Origin(model, CopiedModel(champion.version, champion.learned))


def training_of(engine: Engine, model: Model) -> Training:
    """Return the training of a model on the rows of its pipeline."""
    names = engine.pipeline.feature_names(engine.state.plan())
    return Training(model, names, OutlierFilter(names, engine.pipeline.outliers), FaultLog(_log))


def lineage_of(
    engine: Engine, job: CandidateJob, origin: Origin, rows: int, cut: Cut, content: bytes
) -> dict[str, Any]:
    """Return the lineage of a candidate that has learned rows up to a cut; `content` is its pickle."""
    trigger, plan, copied, read = job.trigger, job.plan, origin.copied, cut.to_json()
    return {
        "parent": trigger.parent,
        "cause": trigger.kind,
        "trigger": trigger.id,
        "why": trigger.why,
        "kind": plan.kind,
        "trained_on": rows,
        "since": iso(plan.since),
        "until": iso(trigger.time),
        "read": {name: read[name] for name in ("labels", "predictions")},
        "sha256": SnapshotDigest.of(content).sha256,
        **code_lineage(engine),
        **({} if copied is None else {"copy_of": copied._asdict()}),
        **({} if job.found is None else {"search": job.found.told()}),
        CUT: read,
    }
