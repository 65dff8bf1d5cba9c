"""The Open Inference Protocol v2: health, metadata and inference."""

from importlib.metadata import version as version_of
from typing import Any

from fastapi import APIRouter, Request, Response

from flows.core.serving.inference.outputs import as_of, described_outputs, outputs
from flows.core.serving.inference.tensors import HEADER, Tensor, encode_answer, parse_request
from flows.core.user_code import describe
from flows.errors import InvalidRequest
from flows.serve.problems import error_response, json_response
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

PLATFORM = "driftline_river"
_DIGITS = 12  # of a length


def inference_routes(pipelines: ServedPipelines) -> APIRouter:
    """Return the routes under /v2."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    _add_server(routes, pipelines)
    _add_models(routes, pipelines)
    return routes


def _add_server(routes: APIRouter, pipelines: ServedPipelines) -> None:
    @routes.get("/health/live", summary="Whether the server runs")
    async def live() -> Response:
        return json_response({"live": True})

    @routes.get("/health/ready", summary="Whether the models of all pipelines are read")
    async def ready() -> Response:
        return _readiness(pipelines.waits_for())

    @routes.get("", summary="The server's name, version and extensions")
    async def server() -> Response:
        return json_response(
            {"name": "driftline", "version": version_of("driftline"), "extensions": ["binary_tensor_data"]}
        )


def _add_models(routes: APIRouter, pipelines: ServedPipelines) -> None:
    @routes.get(
        "/models/{pipeline:segment}", summary="The inputs, outputs and versions of a pipeline's model"
    )
    @routes.get(
        "/models/{pipeline:segment}/versions/{version:segment}", summary="The inputs and outputs of a version"
    )
    async def metadata(pipeline: str, version: str | None = None) -> Response:
        served = pipelines[pipeline]
        if version is not None:
            await served.model(version)
        return json_response(_metadata(served))

    @routes.get("/models/{pipeline:segment}/ready", summary="Whether a pipeline's models are read")
    @routes.get(
        "/models/{pipeline:segment}/versions/{version:segment}/ready", summary="Whether a version can score"
    )
    async def model_ready(pipeline: str, version: str | None = None) -> Response:
        served = pipelines[pipeline]
        await served.model(version)
        return _readiness(served.waits_for())

    @routes.post("/models/{pipeline:segment}/infer", summary="Score rows with the champion")
    @routes.post(
        "/models/{pipeline:segment}/versions/{version:segment}/infer", summary="Score rows with a version"
    )
    async def scored(request: Request, pipeline: str, version: str | None = None) -> Response:
        return await infer(request, await pipelines.caught_up(pipeline), version)


def _readiness(waits_for: str | None) -> Response:
    return json_response({"ready": True}) if waits_for is None else error_response(503, waits_for)


def _metadata(served: ServedPipeline) -> dict[str, Any]:
    return {
        "name": served.pipeline.name,
        "versions": list(served.models.now.models),
        "platform": PLATFORM,
        "inputs": [{**column._asdict(), "shape": [-1]} for column in served.rows.columns],
        "outputs": described_outputs(served.task),
    }


async def infer(request: Request, served: ServedPipeline, version: str | None = None) -> Response:
    """Return the scores of a request's rows, of a version or of the champion."""
    asked = parse_request(await request.body(), _json_length(request))
    model = await served.model(version)
    rows, is_of_store = await served.features(asked)
    scores = model.frozen.score([row.features for row in rows])
    for number, score in enumerate(scores):
        if isinstance(score, Exception):
            raise InvalidRequest(f"row {number}: the model cannot score it: {describe(score)}")
    found: list[Tensor] = outputs(served.task, scores)
    if is_of_store:
        found.append(as_of([row.as_of for row in rows]))
    head = {
        "model_name": served.pipeline.name,
        "model_version": model.version,
        **({} if asked.id is None else {"id": asked.id}),
        "parameters": {"learned": model.learned},
    }
    answer = encode_answer(head, found, asked)
    if answer.json_length is None:
        return Response(answer.body, media_type="application/json")
    return Response(
        answer.body, headers={HEADER: str(answer.json_length)}, media_type="application/octet-stream"
    )


def _json_length(request: Request) -> int | None:
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > _DIGITS:
        raise InvalidRequest(f"{HEADER} must be a whole number, got {given!r:.100}")
    return int(given)
