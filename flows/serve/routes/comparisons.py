"""What takes long about versions: two of them side by side, and one that is made again."""

from typing import Any

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from flows.errors import ConfigError
from flows.jobs.models.side_by_side import compare_versions
from flows.serve.exclusive import Exclusive
from flows.serve.problems import Problem, json_response
from flows.serve.reproductions import Reproductions
from flows.serve.routes.lifecycle import opened_registry
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines


def comparison_routes(pipelines: ServedPipelines, reproductions: Reproductions) -> APIRouter:
    """Return the routes that compare versions, and make one again."""
    routes = APIRouter(prefix="/v1/{pipeline:segment}/models/{version:segment}", tags=["Models"])
    comparing = Exclusive()

    @routes.get("/compare/{other:segment}", summary="Two versions over the labels that both scored")
    async def compare(pipeline: str, version: str, other: str) -> Response:
        return json_response(await comparing.run(_compared, pipelines[pipeline], version, other))

    @routes.post("/reproduce", summary="Train a version again from its lineage")
    async def reproduce(pipeline: str, version: str) -> Response:
        name = await run_in_threadpool(_registered, pipelines[pipeline], version)
        state = await run_in_threadpool(reproductions.start, pipeline, name)
        return json_response(state, 202, {"Location": f"/v1/{pipeline}/models/{name}/reproduction"})

    @routes.get("/reproduction", summary="The progress or the result of the last reproduction")
    async def reproduction(pipeline: str, version: str) -> Response:
        name = await run_in_threadpool(_registered, pipelines[pipeline], version)
        return json_response(reproductions.state(pipeline, name))

    return routes


def _registered(served: ServedPipeline, version: str) -> str:
    with opened_registry(served) as opened:
        return opened.registry.find(served.version_name(version)).name


def _compared(served: ServedPipeline, first: str, second: str) -> dict[str, Any]:
    names = served.version_name(first), served.version_name(second)
    with opened_registry(served) as opened:
        messages = opened.newest()
        try:
            found = compare_versions(served.engine, opened.broker, opened.registry, messages, names)
        except ConfigError as error:  # they are the same, or have no labels in common
            raise Problem(409, str(error)) from None
    return found.as_dict()
