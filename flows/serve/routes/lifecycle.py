"""The versions of the models, their history, and commands to the learner, as `driftline models` has them."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import isinf
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from flows.core.exporting.bom import bill_of_materials
from flows.core.exporting.facts import ModelFacts
from flows.core.exporting.model_card import model_card
from flows.core.registry.chain import Break
from flows.core.registry.command import Action, Learning
from flows.core.registry.registry import RegisteredVersion, Registry
from flows.core.stream.broker import Broker
from flows.host.printable import printable_lines
from flows.jobs.models.commands import carry_out, new_command, read_registry
from flows.jobs.models.facts import known_version
from flows.jobs.models.listing import entry_row, version_rows
from flows.jobs.models.promotion import promotion_gates
from flows.jobs.models.versions import NewestMessages, newest_messages
from flows.serve.admission.guard import caller_of
from flows.serve.exclusive import Exclusive
from flows.serve.problems import json_response
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

MOST_WAITING = 8  # commands that wait for the learner at once; each has a thread, which others need too

Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the learner's answer.")]
Everything = Annotated[bool, Query(alias="all", description="Also list the checkpoints.")]


class Reason(BaseModel):
    """Why a person changes something."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "reviewed by the fraud team"}]}
    )
    reason: str = Field(min_length=1, max_length=1000, pattern=r"\S", description="Kept by the registry.")


class RollbackReason(Reason):
    """Why a person takes back a champion, and what the restored model does."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "too many false alarms"}]}
    )
    learning: Learning = Field("continue", description="As `driftline models rollback --learning`.")


def lifecycle_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the routes of the models' life."""
    routes = APIRouter(prefix="/v1/{pipeline:segment}/models", tags=["Models"])
    _add_views(routes, pipelines)
    _add_commands_to_the_learner(routes, pipelines)
    _add_commands_on_a_version(routes, pipelines)
    return routes


def _add_views(routes: APIRouter, pipelines: ServedPipelines) -> None:
    @routes.get("", summary="The registered versions, the newest first")
    async def versions(pipeline: str) -> Response:
        return json_response(await run_in_threadpool(_versions, pipelines[pipeline]))

    @routes.get("/history", summary="Who changed which version, when and why")
    async def history(pipeline: str, everything: Everything = False) -> Response:
        entries = await run_in_threadpool(_entries, pipelines[pipeline])
        return json_response([each for each in entries if everything or each["change"] != "checkpoint"])

    @routes.get("/history/verification", summary="Whether each entry is signed, and none missing or altered")
    async def verification(pipeline: str) -> Response:
        return json_response(await run_in_threadpool(_verified, pipelines[pipeline]))

    @routes.get("/{version:segment}", summary="Where a version comes from")
    async def lineage(pipeline: str, version: str) -> Response:
        return json_response(await run_in_threadpool(_lineage, pipelines[pipeline], version))

    @routes.get("/{version:segment}/gates", summary="The gates of a promotion")
    async def gates(pipeline: str, version: str) -> Response:
        return json_response(await run_in_threadpool(_gates, pipelines[pipeline], version))

    @routes.get("/{version:segment}/card", summary="The model card in Markdown")
    async def card(pipeline: str, version: str) -> Response:
        text = model_card(await run_in_threadpool(_facts, pipelines[pipeline], version))
        return Response(printable_lines(text), media_type="text/markdown")

    @routes.get("/{version:segment}/bom", summary="The bill of materials (CycloneDX)")
    async def bill(pipeline: str, version: str) -> Response:
        facts = await run_in_threadpool(_facts, pipelines[pipeline], version)
        return Response(bill_of_materials(facts, time.time_ns() // 1_000_000), media_type="application/json")


def _add_commands_to_the_learner(routes: APIRouter, pipelines: ServedPipelines) -> None:
    @routes.post("/freeze", summary="Let the champion serve without learning")
    async def freeze(request: Request, pipeline: str, body: Reason, wait: Wait = 30.0) -> Response:
        return await _send(request, pipelines[pipeline], _Asked("freeze", "", body.reason), wait)

    @routes.post("/unfreeze", summary="Let a frozen champion learn again")
    async def unfreeze(request: Request, pipeline: str, body: Reason, wait: Wait = 30.0) -> Response:
        return await _send(request, pipelines[pipeline], _Asked("unfreeze", "", body.reason), wait)

    @routes.post("/retrain", summary="Train candidates, as an alarm does")
    async def retrain(request: Request, pipeline: str, body: Reason, wait: Wait = 30.0) -> Response:
        return await _send(request, pipelines[pipeline], _Asked("retrain", "", body.reason), wait)


def _add_commands_on_a_version(routes: APIRouter, pipelines: ServedPipelines) -> None:
    @routes.post("/{version:segment}/promote", summary="Make a challenger the champion")
    async def promote(
        request: Request, pipeline: str, version: str, body: Reason, wait: Wait = 30.0
    ) -> Response:
        return await _send(request, pipelines[pipeline], _Asked("promote", version, body.reason), wait)

    @routes.post("/{version:segment}/retire", summary="Stop scoring with a challenger")
    async def retire(
        request: Request, pipeline: str, version: str, body: Reason, wait: Wait = 30.0
    ) -> Response:
        return await _send(request, pipelines[pipeline], _Asked("retire", version, body.reason), wait)

    @routes.post("/{version:segment}/rollback", summary="Serve the stored state of an earlier version")
    async def roll_back(
        request: Request, pipeline: str, version: str, body: RollbackReason, wait: Wait = 30.0
    ) -> Response:
        return await _send(
            request, pipelines[pipeline], _Asked("rollback", version, body.reason, body.learning), wait
        )


class _Asked(NamedTuple):
    """A command as it was asked for."""

    action: Action
    version: str
    reason: str
    learning: Learning = "continue"


_waiting = Exclusive(MOST_WAITING)


async def _send(request: Request, served: ServedPipeline, asked: _Asked, wait: float) -> Response:
    who = caller_of(request.scope["state"])
    return await _waiting.run(_carried_out, served, asked, who, wait)


class OpenedRegistry(NamedTuple):
    """The registry of a pipeline, read with a broker that is open."""

    served: ServedPipeline
    broker: Broker
    registry: Registry
    breaks: list[Break]

    def newest(self) -> NewestMessages:
        """Return the newest messages on the models topic."""
        return newest_messages(self.served.pipeline, self.broker, self.served.engine.sealer())


@contextmanager
def opened_registry(served: ServedPipeline) -> Iterator[OpenedRegistry]:
    """Yield the registered versions of a pipeline."""
    with closing(served.engine.open_broker()) as broker:
        yield OpenedRegistry(served, broker, *read_registry(served.engine, broker))


def _versions(served: ServedPipeline) -> list[dict[str, Any]]:
    with opened_registry(served) as opened:
        return version_rows(opened.registry, opened.newest())


def _entries(served: ServedPipeline) -> list[dict[str, Any]]:
    with opened_registry(served) as opened:
        return [entry_row(each) for each in opened.registry.entries]


def _verified(served: ServedPipeline) -> dict[str, Any]:
    with opened_registry(served) as opened:
        breaks = [each._asdict() for each in opened.breaks]
        return {"verified": not breaks, "entries": len(opened.registry.entries), "breaks": breaks}


def _found(served: ServedPipeline, version: str) -> tuple[RegisteredVersion, ModelFacts]:
    with opened_registry(served) as opened:
        registered = opened.registry.find(served.version_name(version))
        return registered, known_version(served.engine, opened.broker, registered, opened.newest()).facts


def _facts(served: ServedPipeline, version: str) -> ModelFacts:
    return _found(served, version)[1]


def _lineage(served: ServedPipeline, version: str) -> dict[str, Any]:
    registered, facts = _found(served, version)
    return {"role": registered.role, "frozen": registered.is_frozen, **facts.lineage.as_dict()}


def _gates(served: ServedPipeline, version: str) -> list[dict[str, Any]]:
    with opened_registry(served) as opened:
        name = served.version_name(version)
        found = promotion_gates(served.pipeline, opened.broker, opened.registry, name)
    return [{**gate._asdict(), "value": None if isinf(gate.value) else gate.value} for gate in found]


def _carried_out(served: ServedPipeline, asked: _Asked, who: str, wait: float) -> Response:
    """Send a command to the learner, and return the entries of the registry that answer it."""
    version = served.version_name(asked.version)
    command = new_command(served.pipeline, asked.action, version, who, asked.reason, asked.learning)
    answers = carry_out(served.engine, command, wait)
    if answers is None:
        return json_response({"command": command.id, "status": "sent"}, 202)
    return json_response({"command": command.id, "status": "done", "entries": [*map(entry_row, answers)]})
